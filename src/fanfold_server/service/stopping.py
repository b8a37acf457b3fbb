"""Ends jobs that may end early: weighs what has finished, and settles where the end is.

An agent has one `Stopping`, and tells it of the batches that it records. Nothing is kept but what
can be read again: if the agent dies, another weighs the same values in the same order, and comes to
the same end. A job of which all is recorded, and whose end nobody has settled, is found by looking
around.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from datetime import UTC, datetime

import structlog

from fanfold_server.model.job import Batch, Job
from fanfold_server.service.continuing import Continuing
from fanfold_server.service.folding import failure_members
from fanfold_server.service.reading import Reading, as_failed
from fanfold_server.service.weighing import Verdict, Weighing
from fanfold_server.store.port import BatchRecord, BatchState, Blobs, Cut, Ending, Ledger, Settling

LOOK_S = 2.0
"""How often it looks for jobs that somebody left."""

JOBS_AT_HAND = 64
"""So many jobs' numbers so far are remembered; those of others are counted again."""


class _Walk:
    """How far a job has been weighed."""

    __slots__ = ("job", "number", "weighing")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.weighing = Weighing(job.spec)
        self.number = 0  # of the batch that comes next


class Stopping:
    """Ends jobs where their values say."""

    def __init__(self, *, store: Settling, ledger: Ledger, blobs: Blobs) -> None:
        self._store = store
        self._ledger = ledger
        self._reading = Reading(ledger=ledger, blobs=blobs)
        self._continuing = Continuing(ledger=ledger, blobs=blobs, reading=self._reading)
        self._walks: OrderedDict[str, _Walk] = OrderedDict()
        self._noted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("fanfold_server.agent")

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="ends jobs early")

    async def close(self) -> None:
        """End, in the middle of a job if need be: whoever comes next begins with it anew."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, job_id: str) -> None:
        """Say that a batch of a job is recorded, so that it may have come to its end."""
        self._noted[job_id] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            noted, self._noted = self._noted, {}
            try:
                for job_id in noted or await self._store.unsettled():
                    await self.look(job_id)
            except Exception as exc:  # noqa: BLE001  # a database that is away comes back
                self._log.warning("cannot weigh a job", error=repr(exc))
                self._noted |= noted
                await asyncio.sleep(LOOK_S)
                self._wake.set()

    async def look(self, job_id: str) -> None:
        """Weigh what has finished since the last look, and end the job if that is its end."""
        walk = self._walks.pop(job_id, None)
        if walk is None:
            job = await self._ledger.job(job_id, owner=None)
            if job is None or job.state.is_final or job.spec.stop_when is None:
                return
            walk = _Walk(job)
        # A walk that breaks off in the middle of a batch is not put back.
        if not await self._go_on(walk):
            self._walks[job_id] = walk
            while len(self._walks) > JOBS_AT_HAND:
                self._walks.popitem(last=False)

    async def _go_on(self, walk: _Walk) -> bool:
        """Weigh batch by batch; say whether the job has ended."""
        job = walk.job.id
        async for record in self._reading.batches(job, first=walk.number):
            if record.state is not BatchState.FINISHED:
                return False
            failed = await failed_in(self._ledger, walk.weighing, record)
            async for stretch in self._reading.lines(record):
                await walk.weighing.taken(stretch, failed)
                if walk.weighing.verdict is not None:
                    await self._end(walk.job, await self._ending(walk.weighing.verdict, record))
                    return True
            if failed and record.returned + record.failed < record.batch.count:
                # A failed call ended it, beyond a gap: nothing after it was run.
                verdict = Verdict(at=min(failed), failed=True)
                await self._end(walk.job, await self._ending(verdict, record))
                return True
            walk.number = record.batch.number + 1
        await self._end(walk.job, None)
        return True

    async def _end(self, job: Job, ending: Ending | None) -> None:
        settled = await self._store.settle(job.id, ending, now=datetime.now(UTC))
        if settled and ending is not None:
            self._log.info("job ended early", job=job.id, at=ending.at)

    async def _ending(self, verdict: Verdict, record: BatchRecord) -> Ending:
        at, batch = verdict.at, record.batch
        if verdict.failed:
            (row,) = await self._ledger.failures(batch.job, start=at, limit=1)
            assert row.index == at
            return Ending(at=at, error=failure_members(as_failed(row), indexed=True))
        if at == batch.start + batch.count - 1:
            return Ending(at=at)
        kept = Batch(
            job=batch.job,
            number=batch.number,
            start=batch.start,
            count=at + 1 - batch.start,
            fence=batch.fence + 1,
        )
        failed = 0
        if record.failed:
            rows = await self._ledger.failures(batch.job, start=batch.start, limit=batch.count)
            failed = sum(row.index <= at for row in rows)
        cut = Cut(number=batch.number, failed=failed, kept=await self._continuing.cut(record, kept))
        return Ending(at=at, cut=cut)


async def failed_in(ledger: Ledger, weighing: Weighing, record: BatchRecord) -> frozenset[int]:
    """Find out which calls of a batch failed, if that counts."""
    if not (record.failed and weighing.counts_failures):
        return frozenset()
    batch = record.batch
    rows = await ledger.failures(batch.job, start=batch.start, limit=batch.count)
    return frozenset(row.index for row in rows)
