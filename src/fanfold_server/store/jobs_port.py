"""What must be remembered of jobs, stated as the use cases need it; `store.port` exports it all.

`JobStore` changes jobs. Beside it, `Ledger` (`ledger_port.py`) reads them, `Blobs`
(`blobs_port.py`) keeps what is too large for a row, and `Signals` (`signals_port.py`) wakes those
who wait. For every method of `JobStore` an implementer guarantees:

- it is whole or not at all, and on disk (not only in the system's cache) when it returns; but
  `claim` and `renew` need only outlive every process that may have heard of them;
- it may be called again with the same arguments after a broken connection, and then says the same;
- calls that wait at the same time may share one commit.

What of a batch's outcomes is where: a failed call is a row; values, meters and logs are bytes, in
the batch's row (`Content`) while they are small, else in blobs under `blob_key`, which are on disk
before `finish` is called. So a job costs rows for its batches and its failures, never for its plain
calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanfold_server.model.job import Batch, Job, JobSpec
from fanfold_server.model.network import ScriptNetwork
from fanfold_server.model.outcome import Failure

INLINE_BYTES = 16 * 1024
"""Up to this size in all, a batch's content goes into its row: a file costs an fsync of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A batch's outcomes as bytes, in the forms of `BlobKind`; empty: there is nothing of it."""

    values: bytes
    meters: bytes = b""
    logs: bytes = b""
    images: bytes = b""

    @property
    def size_bytes(self) -> int:
        return len(self.values) + len(self.meters) + len(self.logs) + len(self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A batch of a job that is about to be submitted.

    Attributes:
        start: index of its first call.
        count: how many, ≥ 1.
        taken: the outcomes, if another job has them already (all returned): the batch is finished
            from the start, under fence 0.
        size_bytes: what its blobs under fence 0 hold, when it is taken and `taken` is empty bytes:
            then its content is in blobs.
    """

    start: int
    count: int
    taken: Content | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What an account may have, each None for any.

    Attributes:
        queued_jobs: jobs that are queued or running.
        stored_bytes: bytes of results.
    """

    queued_jobs: int | None = None
    stored_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A batch that an agent may run now.

    Attributes:
        deadline: when its job's time is up.
        work: number of the first of the batches that are to run as one, this one with them.
        network: what is decided of the script now; None: nothing, or the script is gone.
    """

    spec: JobSpec
    batch: Batch
    deadline: datetime
    work: int
    network: ScriptNetwork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """A failed call as it is recorded.

    Attributes:
        attempts: how often it was begun, ≥ 1.
        elapsed_us, peak_kib: time and memory of the last attempt, 0 if unknown.
    """

    index: int
    failure: Failure
    log: str = ""
    attempts: int = 1
    elapsed_us: int = 0
    peak_kib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What came of a batch.

    `returned` and the failures make up `batch.count`; fewer only when the job ends with its first
    failure (`on_error` "fail") and there is one.

    Attributes:
        batch: as it was claimed, with its fence.
        returned: calls that returned.
        failures: the others, by index.
        content: the bytes, if they are at most `INLINE_BYTES`; None: they are in blobs.
        size_bytes: all that the batch's blobs hold, images included; without `content`.
        error: the error object with which the job ends if this batch ends it.
    """

    batch: Batch
    returned: int
    failures: Sequence[CallFailure] = ()
    content: Content | None = None
    size_bytes: int = 0
    error: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a heartbeat learned.

    Attributes:
        lost: batches that are no longer the agent's: another took them, or their job has ended or
            is gone. What runs of them is to be stopped and its outcomes dropped.
        ended: those of their jobs that have ended (cancelled, timed out, failed) or are gone.
    """

    lost: frozenset[Batch]
    ended: frozenset[str]


class JobStore(Protocol):
    """Jobs, and the leases under which their batches run.

    The implementer keeps: a batch is finished at most once, by the lease with its highest fence; a
    job's `returned` and `failed` are the sums over its finished batches; a job that has ended never
    changes again; the transitions are those of `model.job`.
    """

    async def submit(
        self,
        job_id: str,
        spec: JobSpec,
        plan: Sequence[Planned],
        *,
        now: datetime,
        quota: Quota,
        idempotency_key: str | None = None,
        announced: bool = False,
    ) -> tuple[Job, bool]:
        """Store a job. When this returns, it survives everything.

        Args:
            job_id: a new UUID; blobs of taken batches are stored under it before.
            spec: what to run.
            plan: its batches, in index order, without gaps; with `canary`, the first of one call.
                A job of none, or of taken ones alone, has succeeded when this returns.
            now: the time of submission.
            quota: what the owner may have with this job.
            idempotency_key: of the owner's choice, ≤ 255 characters.
            announced: the id was announced (`Upkeep.announce`): its blobs are the job's from now.

        Returns:
            The job and True; the owner's earlier job with the same key and False.

        Raises:
            QuotaExceeded: with what and how much (details `limit`, `used`, `quota`).
            DiskFull: there is no room for it.
            TooLate: it was announced, but until a time that has passed.
        """
        ...

    async def claim(
        self,
        agent: str,
        *,
        wanted: int,
        lease_s: float,
        now: datetime,
        per_owner: int,
        calls_at_once: Callable[[JobSpec], int] = lambda _: 1,
        wait_s: float = 0.0,
    ) -> list[Claimed]:
        """Lease batches for up to `wanted` works, each with a fence that it never had before.

        A work is one batch, or several that follow one another and never ran, of no more than
        `calls_at_once` calls, and of no more than one of 2 x degree parts of what waits, unless the
        degree is 1. What is said of leases below counts those of a work as one.

        Ready is what waits, or was leased until before `now`, of jobs that have not ended and whose
        time is not up; of a canary job only the first batch, until that has finished well. Higher
        service levels go first; within one, the owner with the fewest live leases; of an owner,
        the oldest job and its lowest index. A job has never more live leases than its degree, an
        owner never more than `per_owner`. A job's first claim makes it `running` and sets its
        deadline. What goes first is listed first.

        While there is nothing, it waits up to `wait_s` for what is submitted, finished or given
        back: what comes in this process is claimed by the commit that makes it ready.
        """
        ...

    async def renew(
        self, agent: str, batches: Collection[Batch], *, lease_s: float, now: datetime
    ) -> Renewal:
        """Extend the agent's leases (also one that ran out and that nobody took)."""
        ...

    async def finish(
        self, agent: str, results: Sequence[BatchResult], *, now: datetime
    ) -> list[bool]:
        """Record what came of batches; end the jobs that are complete, failed or over their limit.

        Under `on_error` "fail" the first failure ends the job; so does one of a fatal kind, of a
        canary, and the one that is more than `max_failures`; its other batches are dropped.

        Returns:
            For each result, in order: whether it is recorded now (also when it was by an earlier
            call). False: the lease was lost or the job has ended, and nothing was stored.
        """
        ...

    async def release(self, agent: str, batches: Collection[Batch]) -> None:
        """Give leases back, so that another agent may claim the batches at once."""
        ...

    async def cancel(
        self, job_id: str, owner: str | None, *, now: datetime
    ) -> tuple[Job, bool] | None:
        """End a job that is queued or running; what is recorded stays.

        Args:
            job_id: its id.
            owner: whose it must be; None: anyone's.
            now: when it ends.

        Returns:
            The job as it stands, and whether this call ended it; None if there is no such job.
        """
        ...

    async def delete(self, jobs: Collection[str], owner: str | None, *, now: datetime) -> list[str]:
        """Remove jobs, in whatever state, with all their rows.

        Returns:
            Those that were there; their blobs are to be removed, and `forget` called.
        """
        ...

    async def expire(self, *, now: datetime) -> list[str]:
        """End as `timed_out` the jobs whose deadline has passed; return their ids."""
        ...
