"""What a caller may do with jobs: submit, look, read, cancel, run again, delete.

The routes of `http/jobs*.py` and `http/apply.py` call this and nothing below it. Whatever here
takes an `actor` sees the actor's own jobs alone; a job of another owner is unknown (`UnknownJob`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fanfold_server.model.actor import Actor
from fanfold_server.model.apply import Apply, ServiceLevel
from fanfold_server.model.callback import Hosts
from fanfold_server.model.errors import (
    DataUnavailable,
    InvalidField,
    JobNotRunning,
    JobRunning,
    UnknownImage,
    UnknownJob,
)
from fanfold_server.model.job import Job, JobSpec, JobState, TableState
from fanfold_server.model.stopping import StopWhen
from fanfold_server.rows.port import RowSource
from fanfold_server.service.bell import Bell
from fanfold_server.service.continuing import Continuing
from fanfold_server.service.drawing import Stock
from fanfold_server.service.endings import error_of
from fanfold_server.service.entries import Entries, ErrorGroup, OutcomeEntry
from fanfold_server.service.housekeeping import announce
from fanfold_server.service.library import Library
from fanfold_server.service.planning import (
    DATA_VERBS,
    GROUP_APPLY,
    INDEX_APPLY,
    batches_of,
    first_index,
    spec_of,
)
from fanfold_server.service.reading import ImageEntry, Reading, Stretch, from_index
from fanfold_server.service.rowkeeping import RowKeeping, read_kept
from fanfold_server.service.stopping import failed_in
from fanfold_server.service.submissions import Idempotency, JobFilter, Result, Submission, same
from fanfold_server.service.tables import Tables
from fanfold_server.service.weighing import Weighing
from fanfold_server.store import port as store_port
from fanfold_server.store.port import (
    BatchState,
    BlobMissing,
    Blobs,
    JobStore,
    Ledger,
    Planned,
    Quota,
    Signals,
    Upkeep,
    job_prefix,
)

__all__ = [
    "ErrorGroup",
    "ImageEntry",
    "JobFilter",
    "Jobs",
    "OutcomeEntry",
    "Result",
    "Stretch",
    "Submission",
]

WATCH_S = 0.2
"""A watched job is told of at most so often."""

DELETE_AT_ONCE = 500


class Jobs:
    """The use cases of jobs.

    Args:
        quota: what each account may have.
        hosts: whom a server of these jobs calls back.
        level_timeout_s: the longest time at the service levels that have a limit of their own.
        rows: answers the queries of jobs over rows.
        tables: say whether a result may become one of them; None: none may.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        upkeep: Upkeep,
        ledger: Ledger,
        blobs: Blobs,
        signals: Signals,
        library: Library,
        quota: Quota,
        hosts: Hosts | None = None,
        level_timeout_s: Mapping[ServiceLevel, int] | None = None,
        rows: RowSource | None = None,
        tables: Tables | None = None,
    ) -> None:
        self._rows = RowKeeping(blobs=blobs, source=rows)
        self._store = store
        self._upkeep = upkeep
        self._ledger = ledger
        self._blobs = blobs
        self._signals = signals
        self._library = library
        self._quota = quota
        self._level_timeout_s = level_timeout_s or {}
        self._tables = tables
        self._hosts = hosts or Hosts(())
        self._reading = Reading(ledger=ledger, blobs=blobs)
        self._continuing = Continuing(ledger=ledger, blobs=blobs, reading=self._reading)
        self._stock = Stock()
        self._entries = Entries(ledger=ledger, reading=self._reading)

    # ------------------------------------------------------------------ submitting

    async def submitted(self, actor: Actor, idempotency: Idempotency | None) -> Job | None:
        """Return the job that a key stands for already, whatever has become of what it was made of.

        Raises:
            KeyReused: that job was asked for differently.
        """
        if idempotency is None:
            return None
        job = await self._ledger.submitted(actor.name, idempotency.key)
        return None if job is None else same(job, idempotency.request)

    async def submit(self, actor: Actor, apply: Apply, submission: Submission) -> Job:
        """Take a run over for good: it is durable when this returns.

        Raises:
            QuotaExceeded: the owner has as many jobs waiting, or bytes stored, as allowed.
            DiskFull: there is no room for it.
            TableExists, InvalidField: `submission.result_table` cannot be.
            KeyReused: the idempotency key belongs to a job that was asked for differently.
            InvalidField: this server does not call the callback's host.
            CallerError, DataUnavailable: of the query; see `rows.port.RowSource`.
        """
        assert apply.caller == actor.name, "a job belongs to who asks for it"
        if submission.result_table is not None:
            if self._tables is None:
                raise DataUnavailable("This server has no tables.")
            await self._tables.check_result(
                actor, submission.result_table, overwrite=submission.table_overwrite
            )
        if submission.callback_url is not None:
            self._hosts.target(submission.callback_url)
        job_id = self._stock.uuid()
        if apply.input is None:
            job, _ = await self._submit(job_id, apply, submission, None)
            return job
        is_new = False
        try:
            await announce(self._upkeep, job_id)
            kept = await self._rows.keep(job_id, apply)
            job, is_new = await self._submit(job_id, apply, submission, kept.calls)
        finally:
            if not is_new:
                await asyncio.shield(self._blobs.remove(job_prefix(job_id)))
        return job

    async def _submit(
        self, job_id: str, apply: Apply, submission: Submission, calls: int | None
    ) -> tuple[Job, bool]:
        idempotency = submission.idempotency
        spec = spec_of(
            apply,
            api_version=submission.api_version,
            timeout_s=min(
                submission.timeout_s, self._level_timeout_s.get(apply.service, submission.timeout_s)
            ),
            comments=submission.comments,
            stop_when=submission.stop_when,
            result_table=submission.result_table,
            table_overwrite=submission.table_overwrite,
            callback_url=submission.callback_url,
            callback_origin=submission.callback_origin,
            call_timeout_s=submission.call_timeout_s,
            max_failures=submission.max_failures,
            canary=submission.canary,
            request=idempotency.request if idempotency else None,
            calls=calls,
        )
        cut = batches_of(first_index(spec), spec.times, canary=spec.canary, graphics=spec.graphics)
        job, is_new = await self._store.submit(
            job_id,
            spec,
            [Planned(start=start, count=count) for start, count in cut],
            now=_now(),
            quota=self._quota,
            idempotency_key=idempotency.key if idempotency else None,
            announced=apply.input is not None,
        )
        return (job if is_new else same(job, spec.request)), is_new

    async def resume(
        self, actor: Actor, job_id: str, *, idempotency: Idempotency | None = None
    ) -> Job:
        """Make a new job that takes what has returned as it is, and runs the rest.

        It runs the newest version of the script that the owner may use; all else is as before.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobRunning: the job has not ended yet.
            UnknownScript: the script is gone.
        """
        if (job := await self.submitted(actor, idempotency)) is not None:
            return job
        old = await self._ended(actor, job_id)
        spec = old.spec
        script = await self._library.resolve(actor, spec.script_name, spec.script_owner)
        mended = replace(
            spec,
            script_version=script.version,
            digest=script.digest,
            source=script.source,
            entry=script.entry,
            canary=False,
        )
        if spec.asked is not None and old.failed:
            # With numbers for what failed, it may end elsewhere.
            mended = replace(mended, times=spec.asked, asked=None)
        return await self._continue(old, mended, idempotency)

    async def extend(
        self,
        actor: Actor,
        job_id: str,
        times: int,
        *,
        stop_when: StopWhen | None = None,
        idempotency: Idempotency | None = None,
    ) -> Job:
        """Make a new job of `times` calls that takes the old one's values as they are.

        The same version of the script, the same parameters and seed: the result is equal to a
        fresh run of `times` calls with `stop_when`; the old one's condition has had its day.

        Raises:
            UnknownJob: there is no such job of the actor's.
            JobRunning: the job has not ended yet.
            InvalidField: do-eval has no calls to add; `times` is not above the job's.
        """
        if (job := await self.submitted(actor, idempotency)) is not None:
            return job
        old = await self._ended(actor, job_id)
        if old.spec.verb != INDEX_APPLY:
            raise InvalidField("Only a job of index-apply can be extended.")
        if times <= old.spec.times:
            raise InvalidField(f'"times" must be more than {old.spec.times}, which the job has.')
        longer = replace(old.spec, times=times, asked=None, stop_when=stop_when, canary=False)
        return await self._continue(old, longer, idempotency)

    async def _ended(self, actor: Actor, job_id: str) -> Job:
        job = await self.get(actor, job_id)
        if not job.state.is_final:
            raise JobRunning(f"The job is {job.state}: wait for its end, or cancel it.")
        return job

    async def _continue(self, old: Job, spec: JobSpec, idempotency: Idempotency | None) -> Job:
        spec = replace(spec, request=idempotency.request if idempotency else None)
        if old.table_state is TableState.WRITTEN:
            spec = replace(spec, table_overwrite=True)  # it is the same table, gone on with
        new = self._stock.uuid()
        kept = False
        try:
            await announce(self._upkeep, new)
            if old.spec.verb in DATA_VERBS:
                await self._rows.copy(old.id, new)
            plan = await self._continuing.plan(old, new, times=spec.times)
            job, kept = await self._store.submit(
                new,
                spec,
                plan,
                now=_now(),
                quota=self._quota,
                idempotency_key=idempotency.key if idempotency else None,
                announced=True,
            )
        finally:
            if not kept:
                await asyncio.shield(self._blobs.remove(job_prefix(new)))
        return job if kept else same(job, spec.request)

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
            page = await self._ledger.jobs(_filter(actor, wanted), limit=DELETE_AT_ONCE)
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
