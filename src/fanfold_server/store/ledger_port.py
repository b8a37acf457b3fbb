"""Reading what is recorded of jobs; `store.port` exports it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from fanfold_server.model.job import Batch, Job, JobLine, JobState
from fanfold_server.store.jobs_port import CallFailure, Content


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; a member that is None or empty admits any.

    Attributes:
        owner: whose.
        states: in which state.
        ids: which of these.
        comments: a pattern over the whole comment, in which `%` stands for any text and `_` for any
            character, without regard to the case of ASCII letters; no comment matches none.
        created_from: at or after this.
        created_before: before this.
        script: the script's name.
    """

    owner: str | None = None
    states: frozenset[JobState] = frozenset()
    ids: frozenset[str] = frozenset()
    comments: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    script: str | None = None


class BatchState(StrEnum):
    """`dropped`: its job ended before it ran."""

    WAITING = "waiting"
    LEASED = "leased"
    FINISHED = "finished"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A batch as it stands.

    Attributes:
        batch: with the fence under which it was finished, or last leased.
        returned, failed: of a finished batch, else 0.
        finished: when.
        content: the bytes, if they are in the row and were asked for; None: in blobs.
        size_bytes: what its blobs hold.
    """

    batch: Batch
    state: BatchState
    returned: int = 0
    failed: int = 0
    finished: datetime | None = None
    content: Content | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures that look alike.

    Attributes:
        place: the innermost frame of the user's source, "line 3, in f"; empty if there is none.
        pattern: the message with its numbers replaced by `#`.
        message: that of the first.
        indexes: the first few, ascending.
    """

    code: int
    type: str
    place: str
    pattern: str
    message: str
    count: int
    indexes: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an account has now. `leases`: live ones, as of `now`."""

    queued_jobs: int
    running_jobs: int
    leases: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What there is to do, of all accounts; `oldest`: since when there is a queued job."""

    queued: int
    running: int
    oldest: datetime | None
    leases: int


class Ledger(Protocol):
    """Reads what is recorded. Each method sees one moment; pages of several calls do not."""

    async def job(self, job_id: str, *, owner: str | None) -> Job | None:
        """Give a job, `ahead` counted; owner None: anyone's."""
        ...

    async def submitted(self, owner: str, key: str) -> Job | None:
        """Give the owner's job of an idempotency key, `ahead` 0; None: the key is new."""
        ...

    async def jobs(
        self, which: JobFilter, *, limit: int | None = None, after: str | None = None
    ) -> list[Job]:
        """List jobs, newest first, without their source (""), `ahead` 0.

        Args:
            which: the ones wanted.
            limit: at most so many.
            after: an id of the page before: those that are listed after it. One that is not of
                the filter's owner is as good as unknown: nothing comes after it.
        """
        ...

    async def lines(
        self, which: JobFilter, *, limit: int, after: str | None = None
    ) -> list[JobLine]:
        """List what `jobs` does, in a line each: for lists of very many."""
        ...

    async def batches(
        self, job_id: str, *, first: int = 0, limit: int | None = None, content: bool = False
    ) -> list[BatchRecord]:
        """List a job's batches in index order, from number `first` on.

        Args:
            job_id: its id.
            first: number of the first one wanted.
            limit: at most so many: with `content` each may hold `INLINE_BYTES`.
            content: whether to load what is in the rows.
        """
        ...

    async def failures(
        self, job_id: str, *, start: int = 0, limit: int | None = None
    ) -> list[CallFailure]:
        """List failed calls by index, from index `start` on."""
        ...

    async def failure_groups(self, job_id: str, *, samples: int = 5) -> list[FailureGroup]:
        """Group a job's failures by code, type, place and pattern; the largest group first."""
        ...

    async def usage(self, owner: str, *, now: datetime) -> Usage:
        """Sum up what an account has."""
        ...

    async def queue(self, *, now: datetime) -> Queue:
        """Sum up what has not ended; leases are those that are live at `now`."""
        ...
