"""Running a script while its caller waits, on a server without an engine: a job and a wait."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from fanfold_server.model.apply import Apply, OnError, ServiceLevel
from fanfold_server.model.errors import AnswerTooLarge, RunTimedOut
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.outcome import Failed, Failure, FailureKind
from fanfold_server.model.submission import Submission
from fanfold_server.rows.port import RowSource
from fanfold_server.service.applying import AS_A_JOB, CallerLeft
from fanfold_server.service.bell import Bell
from fanfold_server.service.folding import named
from fanfold_server.service.housekeeping import announce
from fanfold_server.service.planning import DATA_VERBS, planned_of, spec_of
from fanfold_server.service.reading import Reading, as_failed
from fanfold_server.service.rowkeeping import RowKeeping, read_kept
from fanfold_server.store.port import (
    Blobs,
    JobStore,
    Ledger,
    Quota,
    Signals,
    Upkeep,
    job_prefix,
)

JOB_TIMEOUT_S = 1800


class Relaying:
    """Runs scripts for callers who wait, through the queue of jobs; no trace of them stays.

    Args:
        timeout_s: how long a run may take, waiting included, seconds, > 0.
        level_timeout_s: the same at the service levels that have a limit of their own.
        max_answer_bytes: a larger answer is refused, whole.
        rows: answers the queries of runs over rows.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        ledger: Ledger,
        blobs: Blobs,
        signals: Signals,
        upkeep: Upkeep,
        timeout_s: float,
        max_answer_bytes: int,
        rows: RowSource | None = None,
        level_timeout_s: Mapping[ServiceLevel, float] | None = None,
    ) -> None:
        self._level_timeout_s = level_timeout_s or {}
        self._rows = RowKeeping(blobs=blobs, source=rows)
        self._store = store
        self._upkeep = upkeep
        self._ledger = ledger
        self._blobs = blobs
        self._signals = signals
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._reading = Reading(ledger=ledger, blobs=blobs)

    async def run(
        self, apply: Apply, leaving: Callable[[], Awaitable[None]]
    ) -> list[bytes] | Failed:
        """Run a script and return the answer's body in pieces, or the call that failed it.

        Args:
            leaving: waits until the caller goes away.

        Raises:
            CallerLeft: the caller went away; everything that was begun is stopped.
            AnswerTooLarge, RunTimedOut, QuotaExceeded, DiskFull: as they say.
        """
        job_id = str(uuid.uuid4())
        with Bell(self._signals, job_id) as bell:
            try:
                await self._submit(job_id, apply)
                timeout_s = self._level_timeout_s.get(apply.service, self._timeout_s)
                job = await self._wait(job_id, bell, leaving, timeout_s)
                return await self._answer(job)
            except RunTimedOut as exc:
                if apply.service in self._level_timeout_s:
                    raise  # which holds for jobs, too
                raise RunTimedOut(exc.message + AS_A_JOB) from exc
            finally:
                # also when this task is cancelled: what nobody reads is not kept
                await asyncio.shield(self._forget(job_id))

    async def _submit(self, job_id: str, apply: Apply) -> None:
        calls = None
        if apply.input is not None:
            await announce(self._upkeep, job_id)
            calls = (await self._rows.keep(job_id, apply)).calls
        spec = spec_of(apply, Submission(timeout_s=JOB_TIMEOUT_S), calls=calls)
        await self._store.submit(
            job_id,
            spec,
            planned_of(spec),
            now=datetime.now(UTC),
            quota=Quota(),
            announced=apply.input is not None,
        )

    async def _wait(
        self,
        job_id: str,
        bell: Bell,
        leaving: Callable[[], Awaitable[None]],
        timeout_s: float,
    ) -> Job:
        left = asyncio.ensure_future(leaving())
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    job = await self._ledger.job(job_id, owner=None)
                    if job is not None and job.state.is_final:
                        return job
                    if job is None or left.done():
                        raise CallerLeft
                    ring = asyncio.ensure_future(bell.wait())
                    try:
                        await asyncio.wait({left, ring}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        ring.cancel()
        except TimeoutError as exc:
            limit = f"{timeout_s:g} s"
            message = f"the run was stopped after {limit}, the limit of this call"
            raise RunTimedOut(message) from exc
        finally:
            left.cancel()

    async def _answer(self, job: Job) -> list[bytes] | Failed:
        if job.failed:
            rows = await self._ledger.failures(job.id, limit=1)
            failed = [await self._named(job, as_failed(row)) for row in rows]
            fatal = failed and failed[0].failure.kind.is_fatal
            if failed and (fatal or job.spec.on_error is OnError.FAIL):
                return failed[0]
        elif job.state is not JobState.SUCCEEDED:
            message = f"the run was ended from outside: it is {job.state}"
            kind = FailureKind.CANCELLED
            return Failed(index=0, failure=Failure(kind=kind, type="Cancelled", message=message))
        pieces, size = [], 0
        async for piece in self._reading.fold(job):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_answer_bytes:
                limit = self._max_answer_bytes
                raise AnswerTooLarge(
                    f"The values take more than {limit} bytes, the limit of one answer; return "
                    "less per call, or ask for fewer calls.",
                    limit_bytes=limit,
                )
        return pieces

    async def _named(self, job: Job, failed: Failed) -> Failed:
        if job.spec.verb not in DATA_VERBS:
            return failed
        return named(failed, (await read_kept(self._blobs, job.id)).keys)

    async def _forget(self, job_id: str) -> None:
        now = datetime.now(UTC)
        await self._store.delete([job_id], None, now=now)
        await self._blobs.remove(job_prefix(job_id))
