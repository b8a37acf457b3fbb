"""What a caller may do with jobs that there are: look, read, cancel, delete.

How they come to be is in `submitting.py`. The routes of `http/jobs*.py` call this and nothing
below it. Whatever here takes an `actor` sees the actor's own jobs alone; a job of another owner is
unknown (`UnknownJob`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import InvalidField, JobNotRunning, UnknownImage, UnknownJob
from fanfold_server.model.job import Job, JobLine, JobState
from fanfold_server.service.bell import Bell
from fanfold_server.service.endings import error_of
from fanfold_server.service.entries import Entries, ErrorGroup, OutcomeEntry
from fanfold_server.service.planning import GROUP_APPLY
from fanfold_server.service.reading import ImageEntry, Reading, Stretch, from_index
from fanfold_server.service.rowkeeping import read_kept
from fanfold_server.service.stopping import failed_in
from fanfold_server.service.weighing import Weighing
from fanfold_server.store import port as store_port
from fanfold_server.store.port import (
    BatchState,
    BlobMissing,
    Blobs,
    JobStore,
    Ledger,
    Signals,
    job_prefix,
)

WATCH_S = 0.2
"""A watched job is told of at most so often."""

DELETE_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a listing or a deletion is about: those that fit every member that is given.

    Attributes:
        comments: pattern in which `%` stands for any text and `_` for any character.
        created_before: before this, aware.
        created_after: at or after this, aware.
    """

    states: frozenset[JobState] | None = None
    comments: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    script: str | None = None


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


class Jobs:
    """The use cases of jobs that there are; `Submitting` makes them."""

    def __init__(self, *, store: JobStore, ledger: Ledger, blobs: Blobs, signals: Signals) -> None:
        self._store = store
        self._ledger = ledger
        self._blobs = blobs
        self._signals = signals
        self._reading = Reading(ledger=ledger, blobs=blobs)
        self._entries = Entries(ledger=ledger, reading=self._reading)

    # ------------------------------------------------------------------ looking

    async def get(self, actor: Actor, job_id: str) -> Job:
        """Return the job as it stands, with the queue position in `ahead`. Raises UnknownJob."""
        job = await self._ledger.job(job_id, owner=actor.name)
        if job is None:
            raise UnknownJob(f"There is no job {job_id} of yours.")
        return job

    async def listing(
        self, actor: Actor, wanted: JobFilter, *, limit: int = 1000, after: str | None = None
    ) -> list[Job]:
        """List jobs, newest first.

        Args:
            limit: 1 … 1000.
            after: the id of the last job of the page before.
        """
        return await self._ledger.jobs(_filter(actor, wanted), limit=limit, after=after)

    async def lines(
        self, actor: Actor, wanted: JobFilter, *, limit: int, after: str | None = None
    ) -> list[JobLine]:
        """List what `listing` does, in a line each."""
        return await self._ledger.lines(_filter(actor, wanted), limit=limit, after=after)

    async def watch(self, actor: Actor, job_id: str) -> AsyncIterator[Job]:
        """Yield the job now and whenever it has changed, at most five times a second, to its end.

        Raises:
            UnknownJob: there is no such job of the actor's; or it was deleted meanwhile.
        """
        with Bell(self._signals, job_id) as bell:
            told: tuple[JobState, int, int] | None = None
            while True:
                job = await self.get(actor, job_id)
                now = (job.state, job.returned, job.failed)
                if now != told:
                    told = now
                    yield job
                if job.state.is_final:
                    return
                await asyncio.sleep(WATCH_S)
                await bell.wait()

    async def outcomes(
        self, actor: Actor, job_id: str, *, state: str | None, start: int, limit: int
    ) -> list[OutcomeEntry]:
        """List outcomes in index order from index `start`, at most `limit` ≤ 1000.

        Args:
            state: "waiting", "returned", "failed"; None for all.
        """
        job = await self.get(actor, job_id)
        return await self._entries.outcomes(job, state=state, start=start, limit=limit)

    async def errors(self, actor: Actor, job_id: str) -> list[ErrorGroup]:
        """Group the failed calls by class, line and message pattern; the most frequent first."""
        await self.get(actor, job_id)
        return await self._entries.groups(job_id)

    # ------------------------------------------------------------------ reading

    async def result(self, actor: Actor, job_id: str) -> Result | None:
        """Return the answer of a job that has ended; None if it has not.

        Raises:
            UnknownJob: there is no such job of the actor's.
        """
        job = await self.get(actor, job_id)
        if not job.is_settled:
            return None
        error = error_of(job)
        pieces = self._reading.fold(job) if error is None else _nothing()
        return Result(job=job, error=error, pieces=pieces, graphics=job.spec.graphics)

    async def values(
        self, actor: Actor, job_id: str, *, start: int = 1, follow: bool = False
    ) -> AsyncIterator[Stretch]:
        """Yield values in index order from index `start` on, a batch at a time.

        Args:
            follow: wait for calls that have no outcome yet; without it, the first such call ends
                the stream. Calls that never ran, since the job ended early, are left out.
        """
        job = await self.get(actor, job_id)
        # What may turn out to be beyond the end is not shown; to know, one begins at the first.
        gate = Weighing(job.spec) if job.spec.stop_when and not job.state.is_final else None
        number = await self._reading.batch_of(job_id, start) if start > 1 and not gate else 0
        with Bell(self._signals, job_id) as bell:
            while True:
                ended = job.state.is_final
                waits = False
                async for record in self._reading.batches(job_id, first=number):
                    if record.state is BatchState.FINISHED:
                        failed = await failed_in(self._ledger, gate, record) if gate else ()
                        async for read in self._reading.lines(record):
                            stretch = await gate.taken(read, failed) if gate else read
                            cut = from_index(stretch, start)
                            if cut is not None:
                                yield cut
                            if gate and gate.verdict:
                                return
                    elif not ended:
                        number, waits = record.batch.number, True
                        break
                if not waits or not follow:
                    return
                await bell.wait()
                job = await self.get(actor, job_id)

    async def keys(self, job: Job) -> Sequence[str] | None:
        """Return the keys of a job's groups, the first call's first; None of any other job."""
        if job.spec.verb != GROUP_APPLY:
            return None
        return (await read_kept(self._blobs, job.id)).keys

    async def images(
        self, actor: Actor, job_id: str, *, start: int = 0, limit: int = 1000
    ) -> list[ImageEntry]:
        """List stored images by index and number, from index `start` on."""
        await self.get(actor, job_id)
        first = await self._reading.batch_of(job_id, start) if start > 1 else 0
        found: list[ImageEntry] = []
        async for record in self._reading.batches(job_id, first=first):
            if record.state is BatchState.FINISHED:
                entries = await self._reading.images(record)
                found += [entry for entry in entries if entry.index >= start]
                if len(found) >= limit:
                    return found[:limit]
        return found

    async def image(self, actor: Actor, job_id: str, index: int, number: int) -> bytes:
        """Return a PNG file. Raises UnknownJob, UnknownImage."""
        await self.get(actor, job_id)
        first = await self._reading.batch_of(job_id, index) if index > 1 else 0
        records = await self._ledger.batches(job_id, first=first, limit=1)
        for record in records:
            if record.state is BatchState.FINISHED:
                try:
                    return await self._reading.image(record, index, number)
                except BlobMissing:
                    break
        raise UnknownImage(f"The job has no image {number} of call {index}.")

    # ------------------------------------------------------------------ ending

    async def cancel(self, actor: Actor, job_id: str) -> Job:
        """Stop a job; what has finished is kept.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobNotRunning: it has ended already.
        """
        found = await self._store.cancel(job_id, actor.name, now=_now())
        if found is None:
            raise UnknownJob(f"There is no job {job_id} of yours.")
        job, ended = found
        if not ended:
            raise JobNotRunning(f"The job has ended already: it is {job.state}.")
        return job

    async def delete(self, actor: Actor, job_id: str) -> None:
        """Stop a job and forget it with all that it stored. Raises UnknownJob."""
        if not await self._delete([job_id], actor.name):
            raise UnknownJob(f"There is no job {job_id} of yours.")

    async def delete_matching(self, actor: Actor, wanted: JobFilter) -> Sequence[str]:
        """Delete every job that fits, also running ones; return their ids.

        Raises:
            InvalidField: the filter is empty.
        """
        if wanted == JobFilter():
            raise InvalidField("A deletion needs at least one filter.")
        gone: list[str] = []
        while True:
            page = await self._ledger.lines(_filter(actor, wanted), limit=DELETE_AT_ONCE)
            if not page:
                return gone
            gone += await self._delete([job.id for job in page], actor.name)

    async def _delete(self, ids: Collection[str], owner: str) -> list[str]:
        gone = await self._store.delete(ids, owner, now=_now())
        for job in gone:
            await self._blobs.remove(job_prefix(job))
        return gone


def _filter(actor: Actor, wanted: JobFilter) -> store_port.JobFilter:
    return store_port.JobFilter(
        owner=actor.name,
        states=wanted.states or frozenset(),
        comments=wanted.comments,
        created_from=wanted.created_after,
        created_before=wanted.created_before,
        script=wanted.script,
    )


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield  # makes this a generator


def _now() -> datetime:
    return datetime.now(UTC)
