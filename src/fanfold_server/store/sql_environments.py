"""`EnvironmentUses` over SQL."""

from __future__ import annotations

from sqlalchemy import func, select

from fanfold_server.model.job import JobState
from fanfold_server.store.schema import job
from fanfold_server.store.sql_accounts import Transactions

_OPEN = (JobState.QUEUED.value, JobState.RUNNING.value)


class SqlEnvironments:
    """`EnvironmentUses` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def open_jobs(self) -> dict[tuple[str, int | None], dict[str, int]]:
        columns = (job.c.environment, job.c.environment_version, job.c.owner)
        asked = select(*columns, func.count()).where(job.c.state.in_(_OPEN)).group_by(*columns)
        found: dict[tuple[str, int | None], dict[str, int]] = {}
        async with self._database.read() as connection:
            for environment, version, owner, count in await connection.execute(asked):
                found.setdefault((environment, version), {})[owner] = count
        return found
