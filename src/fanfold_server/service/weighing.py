"""Where a job that may end early ends: a function of its values in index order, and of no more.

Calls are looked at one after the other by their index, as if they had been run so, however they
came in. The first index at which the numbers up to it will do, or at which a failed call is one too
many, is the end. What has been computed beyond it never counts, so degree, batches, machines and
retries change nothing. Pure, but for the thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import orjson

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import JobSpec
from fanfold_server.service.reading import Stretch, up_to_index
from fanfold_server.service.summing import number_in, value_of

THREADED = 500
"""From so many values on a stretch is weighed in a thread, so that nobody else waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a job.

    Attributes:
        at: index of the last call that counts.
        failed: that call failed, and the job with it; else the numbers up to it will do.
    """

    at: int
    failed: bool


class Weighing:
    """Takes values in index order, from the first on, until it comes to a verdict.

    Args:
        spec: of the job; with a `stop_when`.

    Attributes:
        verdict: None while there is none.
    """

    __slots__ = ("_allowed", "_count", "_failures", "_mean", "_squares", "_stop", "verdict")

    def __init__(self, spec: JobSpec) -> None:
        assert spec.stop_when is not None
        self._stop = spec.stop_when
        # How many failed calls there may be; None: any number.
        self._allowed = 0 if spec.on_error is OnError.FAIL else spec.max_failures
        self._failures = 0
        self._count = 0
        # Welford's recurrence, as in `summing`; quantiles are not needed here.
        self._mean = 0.0
        self._squares = 0.0
        self.verdict: Verdict | None = None

    @property
    def counts_failures(self) -> bool:
        """Whether it has to be told which calls failed."""
        return self._allowed is not None

    def add(self, stretch: Stretch, failed: Collection[int]) -> Stretch:
        """Take values in.

        Args:
            stretch: what follows that of the call before.
            failed: indexes of calls that failed, if `counts_failures`.

        Returns:
            What counts of the stretch: up to the end, if it comes to one.
        """
        assert self.verdict is None
        stop, least = self._stop, self._stop.min_calls
        for index, value in enumerate(_decoded(stretch.ndjson), stretch.start):
            if index in failed:
                self._failures += 1
                if self._allowed is not None and self._failures > self._allowed:
                    return self._end(stretch, index, failed=True)
                continue
            number = number_in(value, stop.member)
            if number is None:
                continue
            self._count += 1
            before = number - self._mean
            self._mean += before / self._count
            self._squares += before * (number - self._mean)
            if self._count >= least and stop.is_met(self._count, self._mean, self._squares):
                return self._end(stretch, index, failed=False)
        return stretch

    async def taken(self, stretch: Stretch, failed: Collection[int]) -> Stretch:
        """Do what `add` does, in a thread: a stretch may be long."""
        if stretch.count < THREADED:
            return self.add(stretch, failed)
        return await asyncio.to_thread(self.add, stretch, failed)

    def _end(self, stretch: Stretch, index: int, *, failed: bool) -> Stretch:
        self.verdict = Verdict(at=index, failed=failed)
        return up_to_index(stretch, index)


def _decoded(ndjson: bytes) -> list[object]:
    try:
        values: list[object] = orjson.loads(b"[" + ndjson[:-1].replace(b"\n", b",") + b"]")
    except orjson.JSONDecodeError:  # a number of hundreds of digits
        return [value_of(line) for line in ndjson.splitlines()]
    return values
