"""Taking runs over as jobs: new ones, and those that go on where another has ended.

A job is durable when a method of `Submitting` returns it. What may be done with it then is said in
`jobs.py`. The run route (`http/apply.py`) and the routes of jobs call this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from fanfold_server.model.actor import Actor
from fanfold_server.model.apply import Apply, ServiceLevel
from fanfold_server.model.callback import Hosts
from fanfold_server.model.errors import DataUnavailable, InvalidField, JobRunning, KeyReused
from fanfold_server.model.job import Job, JobSpec, TableState
from fanfold_server.model.stopping import StopWhen
from fanfold_server.model.submission import Idempotency, Submission
from fanfold_server.rows.port import RowSource
from fanfold_server.service.continuing import Continuing
from fanfold_server.service.drawing import Stock
from fanfold_server.service.housekeeping import announce
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.library import Library
from fanfold_server.service.planning import DATA_VERBS, INDEX_APPLY, planned_of, spec_of
from fanfold_server.service.reading import Reading
from fanfold_server.service.rowkeeping import RowKeeping
from fanfold_server.service.tables import Tables
from fanfold_server.store.port import Blobs, JobStore, Ledger, Quota, Upkeep, job_prefix


class Submitting:
    """Makes jobs.

    Args:
        jobs: finds the job that another goes on from.
        quota: what each account may have.
        hosts: whom a server of these jobs calls back.
        level_timeout_s: the longest time at the service levels that have a limit of their own.
        rows: answers the queries of jobs over rows.
        tables: say whether a result may become one of them; None: none may.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: JobStore,
        upkeep: Upkeep,
        ledger: Ledger,
        blobs: Blobs,
        library: Library,
        quota: Quota,
        hosts: Hosts | None = None,
        level_timeout_s: Mapping[ServiceLevel, int] | None = None,
        rows: RowSource | None = None,
        tables: Tables | None = None,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._upkeep = upkeep
        self._ledger = ledger
        self._blobs = blobs
        self._library = library
        self._quota = quota
        self._hosts = hosts or Hosts(())
        self._level_timeout_s = level_timeout_s or {}
        self._tables = tables
        self._rows = RowKeeping(blobs=blobs, source=rows)
        self._continuing = Continuing(
            ledger=ledger, blobs=blobs, reading=Reading(ledger=ledger, blobs=blobs)
        )
        self._stock = Stock()

    async def submitted(self, actor: Actor, idempotency: Idempotency | None) -> Job | None:
        """Return the job that a key stands for already, whatever has become of what it was made of.

        Raises:
            KeyReused: that job was asked for differently.
        """
        if idempotency is None:
            return None
        job = await self._ledger.submitted(actor.name, idempotency.key)
        return None if job is None else _same(job, idempotency.request)

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
        limit_s = self._level_timeout_s.get(apply.service, submission.timeout_s)
        limited = replace(submission, timeout_s=min(submission.timeout_s, limit_s))
        spec = spec_of(apply, limited, calls=calls)
        job, is_new = await self._store.submit(
            job_id,
            spec,
            planned_of(spec),
            now=_now(),
            quota=self._quota,
            idempotency_key=idempotency.key if idempotency else None,
            announced=apply.input is not None,
        )
        return (job if is_new else _same(job, spec.request)), is_new

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
        job = await self._jobs.get(actor, job_id)
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
        return job if kept else _same(job, spec.request)


def _same(job: Job, request: bytes | None) -> Job:
    """Return the job that an idempotency key stands for, if it is what is asked for now.

    What a job of an older release was asked for with is not known.

    Raises:
        KeyReused: it is not.
    """
    if job.spec.request not in {None, request}:
        raise KeyReused(
            f"The Idempotency-Key belongs to the job {job.id}, which was asked for differently: "
            "take a new one."
        )
    return job


def _now() -> datetime:
    return datetime.now(UTC)
