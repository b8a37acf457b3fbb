"""One work under way in the local engine."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, assert_never

from fanfold_runtime import protocol as p
from fanfold_server.engine.leases import Leases
from fanfold_server.engine.port import Recorder, Work
from fanfold_server.engine.worker import Worker, program_key
from fanfold_server.model.errors import Unexpected
from fanfold_server.model.outcome import Failed, Outcome, Values
from fanfold_server.model.rows import InputType


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What holds for every run.

    Attributes:
        max_len: limit of len() of a returned object; 0 means none.
        max_value_bytes: limit of one encoded value.
        max_log_bytes: how much of what a call prints is kept.
        refuse_output: whether a call that prints fails.
    """

    max_len: int
    max_value_bytes: int
    max_log_bytes: int
    refuse_output: bool

    @property
    def max_frame_bytes(self) -> int:
        """The longest frame that a worker sends of itself.

        A value and figures are within the limit of one value each, values that go together, too,
        with one more; text of a log may take three times its size; a traceback and the header are
        short.
        """
        return 2 * self.max_value_bytes + 3 * self.max_log_bytes + HEADROOM_BYTES


MAX_THREADS: Final = 0xFFFF
"""More cannot be said in the header of a run."""

HEADROOM_BYTES: Final = 16 << 20
"""For what stands beside the values in a frame."""

HIDDEN: Final = "***"
"""What stands for a secret in logs and errors."""


class LocalRun:
    """A work, its leases and the workers that hold them; the `Running` of the port.

    Attributes:
        single_use: whether its workers are untouched before and ended after.
        files: descriptors of the files with its rows; empty without rows.
        asks: how often its calls have asked the server for something.
        call_timeout_s: how long one call may take; None: no limit.
        secrets: what its calls were given that nobody else may see.
        lost_in_a_row: workers that died since the last call that got an outcome otherwise.
    """

    __slots__ = (
        "_recorder",
        "_stop",
        "asks",
        "begun_at",
        "call_timeout_s",
        "deadline",
        "done",
        "files",
        "header",
        "leases",
        "lost_in_a_row",
        "number",
        "over",
        "queued",
        "queued_at",
        "secrets",
        "single_use",
        "work",
        "workers",
    )  # fmt: skip

    def __init__(
        self,
        *,
        number: int,
        work: Work,
        recorder: Recorder,
        call_us: float | None,
        single_use: bool,
        limits: RunLimits,
        call_s: float | None,
        threads: int,
        stop: Callable[[LocalRun], None],
    ) -> None:
        self.number = number
        self.work = work
        self._recorder = recorder
        self.leases = Leases(work.start, work.count, work.degree, call_us)
        self.single_use = single_use
        self.workers: set[Worker] = set()
        self.over = False
        self.queued = False
        self.queued_at = 0.0
        self.lost_in_a_row = 0
        self.asks = 0
        self.secrets: tuple[str, ...] = ()
        self.begun_at = time.monotonic()
        self.deadline = self.begun_at + work.timeout_s
        self.call_timeout_s = _least(work.call_timeout_s, call_s)
        self._stop = stop
        self.files = _open_files(work)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flags = (
            (p.INDEXED if work.indexed else 0)
            | (p.GRAPHICS if work.graphics else 0)
            | (p.KEEP_POINT_ZERO if work.keep_point_zero else 0)
            | p.ROUND_FRAMES
            | (0 if work.graphics else p.IN_PARTS)
            | (p.KEEP_LOGS if work.keep_logs else 0)
            | (p.KEEP_METERS if work.keep_meters else 0)
            | (p.REFUSE_OUTPUT if limits.refuse_output else 0)
            | (p.ONCE if single_use else 0)
            | _rows_flags(work)
        )
        script = work.script
        self.header = p.RUN_HEADER.pack(
            number,
            program_key(script.digest, script.name, script.entry),
            work.seed,
            flags,
            limits.max_len,
            limits.max_value_bytes,
            limits.max_log_bytes,
            min(threads, MAX_THREADS),
        )

    def close_files(self) -> None:
        """Close what no worker will be given any more."""
        for file in self.files:
            os.close(file)
        self.files = []

    @property
    def wants_worker(self) -> bool:
        return not self.over and self.leases.left > 0 and len(self.workers) < self.leases.degree

    def record_values(self, values: Values) -> None:
        self.lost_in_a_row = 0
        self._recorder.values(values)

    def record(self, outcome: Outcome) -> None:
        if self.secrets:
            outcome = without(outcome, self.secrets)
        self._recorder.outcome(outcome)

    def holds(self, secret: str) -> None:
        """Note that its processes may hold a secret: none of them is used again."""
        if secret not in self.secrets:
            # The longest first: one may be part of another.
            self.secrets = tuple(sorted((*self.secrets, secret), key=len, reverse=True))

    def finish(self) -> None:
        """End by itself or early; what is recorded stays."""
        if not self.over:
            self.over = True
            if not self.done.done():
                self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End because the engine cannot go on."""
        if not self.over:
            self.over = True
            if not self.done.done():
                self.done.set_exception(error)
                self.done.exception()  # whoever waits is told; that nobody does is no fault

    def cancel(self) -> None:
        if not self.over:
            self._stop(self)


def _least(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _open_files(work: Work) -> list[int]:
    """Open the files of the rows; each worker is given descriptors and never a path.

    Raises:
        Unexpected: they were released too early.
    """
    if work.rows is None:
        return []
    files: list[int] = []
    try:
        for path in filter(None, (work.rows.path, work.rows.offsets)):
            files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 closed below
    except OSError as exc:
        for file in files:
            os.close(file)
        raise Unexpected from exc
    return files


def _rows_flags(work: Work) -> int:
    flags = (p.SPLICE if work.splice else 0) | (p.COLUMN_FRAMES if work.column_frames else 0)
    if work.rows is None:
        return flags
    match work.input_type:
        case InputType.DEFAULT:
            pass
        case InputType.DATAFRAME:
            flags |= p.AS_FRAME
        case InputType.RECARRAY:
            flags |= p.AS_RECORDS
        case _:
            assert_never(work.input_type)
    return (
        flags
        | p.ROWS
        | (p.CUT if work.rows.offsets is not None else 0)
        | (p.NA_OMIT if work.na_omit else 0)
    )


def without(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    """Take secrets out of what is told beside the value: log, message and traceback."""

    def hidden(text: str) -> str:
        for secret in secrets:
            # As a traceback or a log may write it: as it is, and as Python and JSON do.
            for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
                text = text.replace(form, HIDDEN)
        return text

    log = hidden(outcome.log)
    if isinstance(outcome, Failed):
        failure = replace(
            outcome.failure,
            type=hidden(outcome.failure.type),
            message=hidden(outcome.failure.message),
            traceback=hidden(outcome.failure.traceback),
        )
        return replace(outcome, log=log, failure=failure)
    return replace(outcome, log=log)
