"""What a caller may do with jobs: submit, look, read, cancel, run again, delete.

The routes of `http/jobs*.py` and `http/apply.py` call this and nothing below it. Whatever here
takes an `actor` sees the actor's own jobs alone; a job of another owner is unknown (`UnknownJob`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from fanfold_server.model.actor import Actor
from fanfold_server.model.apply import Apply
from fanfold_server.model.job import Job, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is asked of a job beyond the run itself; the wire's members and headers.

    Attributes:
        timeout_s: how long it may run, from its start; 1800 … 43200.
        idempotency_key: a second submission of the owner with the same key is the first job.
        call_timeout_s: how long one call may take, > 0; None: no limit of its own.
        max_failures: failed calls with which the job still goes on under "continue", ≥ 0.
        canary: run the first call alone, and the rest only if it returns.
    """

    api_version: str = "v1"
    timeout_s: int = 1800
    comments: str | None = None
    idempotency_key: str | None = None
    call_timeout_s: float | None = None
    max_failures: int | None = None
    canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a listing or a deletion is about: those that fit every member that is given.

    Attributes:
        comments: pattern in which `%` stands for any text and `_` for any character.
        created_before, created_after: aware.
    """

    states: frozenset[JobState] | None = None
    comments: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended, as the compatible wire answers it.

    Attributes:
        error: the error object of a job without an answer (failed, cancelled, timed out); with it,
            `pieces` is empty.
        pieces: the body exactly as a synchronous call's, in pieces; read from files as it is sent.
        graphics: whether the body holds images.
    """

    job: Job
    error: dict[str, object] | None
    pieces: AsyncIterator[bytes]
    graphics: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Values of `count` calls in a row, from index `start`.

    Attributes:
        ndjson: `count` lines, each one JSON text and a line feed; `null` for a failed call.
    """

    start: int
    count: int
    ndjson: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One stored image: image `number` (1, 2, …) of call `index` (0 for do-eval)."""

    index: int
    number: int
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeEntry:
    """What came of one call, as it is listed.

    Attributes:
        state: "waiting", "returned" or "failed".
        attempts: how often its batch was begun.
        elapsed_us, peak_kib: None where it was not measured.
        error: code, type, message, traceback of a failed call.
    """

    index: int
    state: str
    attempts: int
    elapsed_us: int | None
    peak_kib: int | None
    log: str
    error: dict[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Failed calls that failed alike.

    Attributes:
        line: the last frame of the user's own source, "line 3, in f"; empty if there is none.
        pattern: the message with its numbers replaced by `#`.
        sample: the lowest indexes, at most ten.
    """

    code: int
    type: str
    line: str
    pattern: str
    message: str
    count: int
    sample: list[int]


class Jobs:
    """The use cases of jobs."""

    # ------------------------------------------------------------------ submitting

    async def submit(self, actor: Actor, apply: Apply, submission: Submission) -> Job:
        """Take a run over for good: it is durable when this returns.

        Raises:
            QuotaExceeded: the owner has as many jobs waiting, or bytes stored, as allowed.
        """
        raise NotImplementedError

    async def resume(self, actor: Actor, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Make a new job that takes what has returned as it is, and runs the rest.

        It runs the newest version of the script that the owner may use; all else is as before.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobRunning: the job has not ended yet.
            UnknownScript: the script is gone.
        """
        raise NotImplementedError

    async def extend(
        self, actor: Actor, job_id: str, times: int, *, idempotency_key: str | None = None
    ) -> Job:
        """Make a new job of `times` calls that takes the old one's values as they are.

        The same version of the script, the same parameters and seed: the result is equal to a
        fresh run of `times` calls.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobRunning: the job has not ended yet.
            InvalidField: do-eval has no calls to add; `times` is not above the job's.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------ looking

    async def get(self, actor: Actor, job_id: str) -> Job:
        """Return the job as it stands, with the queue position in `ahead`. Raises UnknownJob."""
        raise NotImplementedError

    async def listing(
        self, actor: Actor, wanted: JobFilter, *, limit: int = 1000, after: str | None = None
    ) -> list[Job]:
        """List jobs, newest first.

        Args:
            limit: 1 … 1000.
            after: the id of the last job of the page before.
        """
        raise NotImplementedError

    def watch(self, actor: Actor, job_id: str) -> AsyncIterator[Job]:
        """Yield the job now and whenever it has changed, at most five times a second, to its end.

        Raises:
            UnknownJob: there is no such job of the actor's; or it was deleted meanwhile.
        """
        raise NotImplementedError

    async def outcomes(
        self, actor: Actor, job_id: str, *, state: str | None, start: int, limit: int
    ) -> list[OutcomeEntry]:
        """List outcomes in index order from index `start`, at most `limit` ≤ 1000.

        Args:
            state: "waiting", "returned", "failed"; None for all.
        """
        raise NotImplementedError

    async def errors(self, actor: Actor, job_id: str) -> list[ErrorGroup]:
        """Group the failed calls by class, line and message pattern; the most frequent first."""
        raise NotImplementedError

    # ------------------------------------------------------------------ reading

    async def result(self, actor: Actor, job_id: str) -> Result | None:
        """Return the answer of a job that has ended; None if it has not.

        Raises:
            UnknownJob: there is no such job of the actor's.
        """
        raise NotImplementedError

    def values(
        self, actor: Actor, job_id: str, *, start: int = 1, follow: bool = False
    ) -> AsyncIterator[Stretch]:
        """Yield values in index order from index `start` on, a batch at a time.

        Args:
            follow: wait for calls that have no outcome yet; without it, the first such call ends
                the stream. Calls that never ran, since the job ended early, are left out.
        """
        raise NotImplementedError

    async def images(
        self, actor: Actor, job_id: str, *, start: int = 0, limit: int = 1000
    ) -> list[ImageEntry]:
        """List stored images by index and number, from index `start` on."""
        raise NotImplementedError

    async def image(self, actor: Actor, job_id: str, index: int, number: int) -> bytes:
        """Return a PNG file. Raises UnknownJob, UnknownImage."""
        raise NotImplementedError

    # ------------------------------------------------------------------ ending

    async def cancel(self, actor: Actor, job_id: str) -> Job:
        """Stop a job; what has finished is kept.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobNotRunning: it has ended already.
        """
        raise NotImplementedError

    async def delete(self, actor: Actor, job_id: str) -> None:
        """Stop a job and forget it with all that it stored. Raises UnknownJob."""
        raise NotImplementedError

    async def delete_matching(self, actor: Actor, wanted: JobFilter) -> Sequence[str]:
        """Delete every job that fits, also running ones; return their ids.

        Raises:
            InvalidField: the filter is empty.
        """
        raise NotImplementedError
