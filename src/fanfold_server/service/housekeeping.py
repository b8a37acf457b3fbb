"""What a server does for its jobs unasked: end those whose time is up, forget old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from fanfold_server.store.port import Blobs, JobStore, Upkeep, job_prefix

ROUND_S = 60.0
"""How often it looks."""

STALE_S = 3600.0
"""So long after a job was deleted an agent that knows nothing of it may still write its blobs."""

ANNOUNCED_S = 6 * 3600.0
"""So long blobs may be there before their job is: a large job is copied for a while."""


class Housekeeping:
    """Runs beside the routes.

    Args:
        retention_days: how long a job is kept after its end; 0: for ever.
        further: what else is to be done in each round, given the time.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        upkeep: Upkeep,
        blobs: Blobs,
        retention_days: int,
        further: Sequence[Callable[[datetime], Awaitable[None]]] = (),
    ) -> None:
        self._store = store
        self._upkeep = upkeep
        self._blobs = blobs
        self._retention_days = retention_days
        self._further = further
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("fanfold_server.jobs")

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="keeps house")

    async def close(self) -> None:
        """End, in the middle of a round if need be: the next server goes on with it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.tidy(datetime.now(UTC))
            except Exception as exc:  # noqa: BLE001  # a database that is away comes back
                self._log.warning("housekeeping failed", error=repr(exc))
            await asyncio.sleep(ROUND_S)

    async def tidy(self, now: datetime) -> None:
        """Do one round."""
        await self._store.expire(now=now)
        days = self._retention_days
        before = now - timedelta(days=days) if days else datetime.min.replace(tzinfo=UTC)
        gone = await self._upkeep.prune(before=before, now=now)
        for job in gone:
            await self._blobs.remove(job_prefix(job))
        if gone:
            await self._upkeep.forget(gone, deleted_before=now - timedelta(seconds=STALE_S))
        for act in self._further:
            await act(now)


async def announce(upkeep: Upkeep, job_id: str) -> None:
    """Say that blobs of a job come before it does: if it never comes, they are removed."""
    await upkeep.announce(job_id, until=datetime.now(UTC) + timedelta(seconds=ANNOUNCED_S))
