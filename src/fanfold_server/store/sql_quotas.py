"""What an owner of jobs has, held against what it may have: a part of `SqlJobs.submit`."""

from __future__ import annotations

import time

from sqlalchemy import Connection, bindparam, func, select

from fanfold_server.model.errors import QuotaExceeded
from fanfold_server.store.port import Quota
from fanfold_server.store.schema import job
from fanfold_server.store.sql_leases import IS_OPEN

REMEMBERED_S = 5
"""How old a count may be against which a quota is held, as far as other processes go."""

RETRY_AFTER_S = 30
"""What an account over its quota is told: jobs end all the time."""

_OPEN_JOBS = (
    select(func.count()).select_from(job).where(job.c.owner == bindparam("its_owner"), IS_OPEN)
)
_STORED_BYTES = select(func.coalesce(func.sum(job.c.size_bytes), 0)).where(
    job.c.owner == bindparam("its_owner")
)


class _Remembered:
    """A count and when it was made, on the monotonic clock."""

    __slots__ = ("_made", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._made = time.monotonic()

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self._made > REMEMBERED_S


class Quotas:
    """What the writer's thread remembers of owners: most submissions need not ask for it."""

    def __init__(self) -> None:
        self._stored_bytes: dict[str, _Remembered] = {}
        self._open_jobs: dict[str, _Remembered] = {}

    def forget_bytes(self) -> None:
        """Count stored bytes anew: some have gone."""
        self._stored_bytes.clear()

    def check(self, connection: Connection, owner: str, quota: Quota) -> None:
        """Compare what an owner has with what it may have, and count one job more."""
        if quota.queued_jobs is not None:
            # Jobs also end, so that what is remembered is too much rather than too little.
            known = self._open_jobs.get(owner)
            if known is None or known.is_old or known.count >= quota.queued_jobs:
                count = connection.scalar(_OPEN_JOBS, {"its_owner": owner}) or 0
                known = self._open_jobs[owner] = _Remembered(count)
            if known.count >= quota.queued_jobs:
                raise QuotaExceeded(
                    f"You have {known.count} jobs that have not ended, and may have "
                    f"{quota.queued_jobs}.",
                    limit="queued_jobs",
                    used=known.count,
                    quota=quota.queued_jobs,
                    retry_after_s=RETRY_AFTER_S,
                )
            known.count += 1
        if quota.stored_bytes is not None:
            known = self._stored_bytes.get(owner)
            if known is None or known.is_old:
                count = int(connection.scalar(_STORED_BYTES, {"its_owner": owner}) or 0)
                known = self._stored_bytes[owner] = _Remembered(count)
            if known.count >= quota.stored_bytes:
                raise QuotaExceeded(
                    f"Your jobs' results take {known.count} bytes, and may take "
                    f"{quota.stored_bytes}: delete some.",
                    limit="stored_bytes",
                    used=known.count,
                    quota=quota.stored_bytes,
                    retry_after_s=RETRY_AFTER_S,
                )
