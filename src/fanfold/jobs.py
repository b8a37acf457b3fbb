"""Jobs: a handle to one, and the listing. A job belongs to the server; a handle only reads.

Whoever holds the id can take it up again, from any process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from fanfold import errors
from fanfold.faults import Detached, JobCancelled, Unreachable, WaitedTooLong
from fanfold.gathering import ended, gathered, in_order
from fanfold.messages import (
    RUN_LIMIT_S,
    Events,
    Give,
    Pause,
    Read,
    Request,
    Response,
    Steps,
    each,
    json_body,
    path,
    query,
)
from fanfold.options import Options
from fanfold.records import ErrorGroup, JobInfo, Outcome, read
from fanfold.runs import Run, answer_of, failure_of
from fanfold.session import error_for
from fanfold.values import Image, value_of
from fanfold.verbs import D, Part, stream_of, verb

if TYPE_CHECKING:
    from fanfold.progress import Bar, Display
    from fanfold.session import Session

JOBS = "/api/v1/jobs"
PAGE = 1000
SILENCE_LIMIT_S = 60.0
"""A server says that it is alive four times as often."""

_GONE_PAUSE_S = 0.5
_TABLE_PAUSE_S = 0.1
_GONE_TRIES = 60


@dataclass(frozen=True)
class CallResult:
    """What came of one call: its value, or the exception that stands for it."""

    index: int
    value: Any = None
    error: errors.CallFailed | None = None

    def get(self) -> Any:
        """Give the value.

        Raises:
            CallFailed: the call has none.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Job(Part[D], Generic[D]):
    """A job on the server, known by its `id`."""

    def __init__(
        self,
        driver: D,
        session: Session,
        display: Display,
        job_id: str,
        options: Options | None = None,
    ) -> None:
        super().__init__(driver, session, display)
        self.id = job_id
        self._options = options or Options()

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @verb
    def info(self) -> Steps[JobInfo]:
        """Look at the job as it stands."""
        return (yield from self._info())

    @verb
    def wait(self, timeout: float | None = None) -> Steps[JobInfo]:
        """Wait for the end of the job; give it as it stands then.

        Raises:
            WaitedTooLong: it has not ended after `timeout` seconds.
            Detached: somebody pressed Ctrl-C, and chose to let it go on.
            JobCancelled: …, and chose to cancel it.
        """
        return (yield from self._wait(timeout))

    @verb
    def result(self, timeout: float | None = None) -> Steps[Any]:
        """Wait for the end, and give what a run that is waited for would have given.

        Raises:
            CallFailed: a call failed, and the job was not to go on; also `WaitedTooLong` and
                what else `wait` raises.
            NotTabular: the result was to be written as a table, and cannot be; `results` gives it
                all the same.
        """
        return (yield from self._result(timeout))

    @stream_of(CallResult)
    def results(self, start: int | None = None, follow: bool = True) -> Steps[None]:
        """Give what came of the calls, in index order and as soon as it is there.

        Args:
            start: the index to begin with.
            follow: wait for what is not there yet.
        """
        yield from in_order(self._session, self._at("results"), start, follow, self._call_result)

    @stream_of(CallResult)
    def as_completed(self, told: Callable[[JobInfo], None] | None = None) -> Steps[None]:
        """Give what came of the calls in the order in which they end, each once.

        Args:
            told: is told how the job stands, at each change.
        """
        info = yield from self._info()
        changes, take = self._changes(info), self._call_result
        yield from gathered(self._session, self._at(), info, take, changes, tell=told)

    @stream_of(Outcome)
    def outcomes(self, state: str | None = None) -> Steps[None]:
        """Give time, attempts, memory, log and error of each call; `state` as in "failed"."""
        start: int | None = 0
        while start is not None:
            asked = query(state=state, from_=start, limit=PAGE)
            page = yield from self._read(self._at("outcomes"), asked)
            for entry in page["outcomes"]:
                yield Give(read(Outcome, entry))
            start = page["next"]

    @stream_of(Outcome)
    def ended(self) -> Steps[None]:
        """Give the outcome of each call as soon as it has one, with what it printed, to the end."""
        info = yield from self._info()
        take = partial(read, Outcome)
        yield from ended(self._session, self._at(), info, take, self._changes(info))

    @verb
    def errors(self) -> Steps[list[ErrorGroup]]:
        """Group the failed calls by class, line and message."""
        said = yield from self._read(self._at("errors"), {})
        return [read(ErrorGroup, entry) for entry in said["errors"]]

    @verb
    def summary(self, member: str | None = None) -> Steps[Mapping[str, Any]]:
        """Sum up the numbers that the calls returned: mean, interval, quantiles."""
        found: Mapping[str, Any]
        found = yield from self._read(self._at("summary"), query(member=member))
        return found

    @stream_of(Image)
    def images(self) -> Steps[None]:
        """Give the figures, in the order of calls and of drawing."""
        start: int | None = 0
        while start is not None:
            asked = query(from_=start, limit=PAGE)
            page = yield from self._read(self._at("images"), asked)
            for entry in page["images"]:
                name = f"{entry['index']}-{entry['number']}.png"
                request = Request("GET", self._at("images", name), may_repeat=True)
                answer = yield from self._session.send(request)
                called = entry.get("group") or entry["index"]
                yield Give(Image(answer.body, entry["title"], entry["number"], called))
            start = page["next"]

    @verb
    def save(self, file: str | Path, form: str = "text/csv") -> Steps[Path]:
        """Write the values to a file, as they come: CSV, NDJSON, Parquet or an Arrow stream."""
        answer = yield from self._session.open(self._ask(self._at("results"), accept=form))
        target = Path(file)
        unfinished = target.with_name(f".{target.name}.part")
        try:
            with unfinished.open("wb") as out:
                while piece := (yield Read(answer.stream)):
                    out.write(piece)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    @verb
    def cancel(self) -> Steps[JobInfo]:
        """Stop the job; what has finished stays."""
        return (yield from self._cancel())

    @verb
    def delete(self) -> Steps[None]:
        """Forget the job with all that it stored."""
        yield from self._session.send(Request("DELETE", self._at(), may_repeat=True))

    @verb
    def resume(self) -> Steps[Job[D]]:
        """Make a job that keeps what has returned, and runs what failed or is missing."""
        return (yield from self._successor("resume", {}))

    @verb
    def extend(self, times: int) -> Steps[Job[D]]:
        """Make a job of more calls that keeps the values of this one."""
        return (yield from self._successor("extend", {"times": times}))

    # -------------------------------------------------------------------------------------- inside

    def _at(self, *parts: str) -> str:
        return path(JOBS, self.id, *parts)

    def _ask(self, where: str, accept: str) -> Request:
        return Request(
            "GET", where, headers={"accept": accept}, limit_s=RUN_LIMIT_S, may_repeat=True
        )

    def _read(self, where: str, asked: Mapping[str, str]) -> Steps[Any]:
        request = Request("GET", where, query=asked, may_repeat=True)
        answer: Response = yield from self._session.send(request)
        return answer.json()

    def _info(self) -> Steps[JobInfo]:
        return read(JobInfo, (yield from self._read(self._at(), {})))

    def _cancel(self) -> Steps[JobInfo]:
        request = Request("POST", self._at("cancel"), may_repeat=True)
        answer = yield from self._session.send(request)
        return read(JobInfo, answer.json())

    def _successor(self, verb_: str, members: Mapping[str, object]) -> Steps[Job[D]]:
        body, headers = json_body(members) if members else (b"", {})
        request = Request("POST", self._at(verb_), body=body or None, headers=headers)
        answer = yield from self._session.send(request)
        new = answer.json()["id"]
        return Job(self._driver, self._session, self._display, new, self._options)

    def _call_result(self, members: Mapping[str, Any]) -> CallResult:
        from_error = members.get("error")
        if from_error is not None:
            return CallResult(members["index"], error=failure_of(from_error))
        return CallResult(members["index"], value_of(members["value"], frames=self._options.frames))

    def _wait(self, timeout: float | None) -> Steps[JobInfo]:
        info = yield from self._info()
        bar = self._display.bar(str(info.script.get("name", "job")), info.times)
        try:
            return (yield from self._end(info, timeout, bar))
        except KeyboardInterrupt:
            bar.close()
            if not self._display.on:
                raise
            if self._display.ask(info) == "cancel":
                yield from self._cancel()
                raise JobCancelled(f"Job {self.id} was cancelled.") from None
            raise Detached(
                f"Job {self.id} goes on. Take it up with client.job({self.id!r}), or "
                f"fanfold job watch {self.id}.",
                details={"job": self.id},
            ) from None
        finally:
            bar.close()

    def _end(self, info: JobInfo, timeout: float | None, bar: Bar) -> Steps[JobInfo]:
        deadline = None if timeout is None else time.monotonic() + timeout
        last = [info]

        def told(now: JobInfo) -> None:
            last[0] = now
            bar.job(now)

        yield from each(self._changes(info, deadline), told)
        while (last[0].result_table or {}).get("state") == "waiting":
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitedTooLong(f"The table of job {self.id} is not written yet.")
            yield Pause(_TABLE_PAUSE_S)
            last[0] = yield from self._info()
        return last[0]

    def _changes(self, info: JobInfo, deadline: float | None = None) -> Steps[None]:
        """Give the job at every change, to its end; go on when the connection breaks."""
        yield Give(info)
        seen = None
        broken = 0
        while not info.has_ended:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitedTooLong(f"Job {self.id} has not ended: it is {info.state}.")
            headers = {"accept": "text/event-stream"}
            if seen is not None:
                headers["last-event-id"] = seen
            limit = SILENCE_LIMIT_S if left is None else min(left, SILENCE_LIMIT_S)
            request = Request("GET", self._at("events"), headers=headers, limit_s=limit)
            try:
                answer = yield from self._session.open(request)
                if answer.status == 204:  # noqa: PLR2004  # there is nothing more to come
                    yield Give((yield from self._info()))
                    return
                events = Events()
                while piece := (yield Read(answer.stream)):
                    for last_id, name, data in events.feed(piece):
                        seen = last_id
                        if name == "gone":
                            raise errors.UnknownJob(f"Job {self.id} was deleted.")
                        info = read(JobInfo, json.loads(data))
                        broken = 0
                        yield Give(info)
            except (Unreachable, errors.ShuttingDown, errors.Overloaded):
                if deadline is not None and time.monotonic() >= deadline:
                    continue
                broken += 1
                if broken > _GONE_TRIES:
                    raise
                yield Pause(_GONE_PAUSE_S)

    def _result(self, timeout: float | None) -> Steps[Any]:
        info = yield from self._wait(timeout)
        lacking = (info.result_table or {}).get("error")
        if lacking is not None:
            said = dict(lacking)
            message = f"{said.pop('errorMessage')} Job {self.id} has the values: results() of it."
            raise error_for(int(said.pop("errorCode")), message, details={**said, "job": self.id})
        answer = yield from self._session.send(
            self._ask(self._at("results"), accept="application/json")
        )
        body = {"graphicsFlag": info.graphics}
        run = Run(info.verb, "", None, body, self._options)
        return answer_of(run, answer.json())
