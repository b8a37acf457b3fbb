"""`JobNotes` over SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from fanfold_server.model.errors import QuotaExceeded, TableExists
from fanfold_server.model.job import JobState, TableState
from fanfold_server.model.rows import TableInfo
from fanfold_server.store.job_rows import clean
from fanfold_server.store.schema import job
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.sql_tables import put_table

_WITH_RESULT = (JobState.SUCCEEDED.value, JobState.PARTLY_FAILED.value)


class SqlNotes:
    """`JobNotes` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def comment(
        self, job_id: str, lines: Sequence[str], *, max_lines: int, max_length: int
    ) -> None:
        async with self._database.write() as connection:
            asked = select(job.c.comments).where(job.c.uuid == job_id).with_for_update()
            row = (await connection.execute(asked)).one_or_none()
            if row is None:
                return
            there = row.comments.split("\n") if row.comments else []
            new = list(dict.fromkeys(map(clean, lines)))
            all_ = there + [line for line in new if line not in there]
            text = "\n".join(all_)
            if len(all_) > max_lines or len(text) > max_length:
                raise QuotaExceeded(
                    f"The job's comments would have {len(all_)} lines and {len(text)} characters; "
                    f"they may have {max_lines} and {max_length}.",
                    limit="comments",
                    used=len(text),
                    quota=max_length,
                )
            if len(all_) > len(there):
                await connection.execute(
                    update(job).where(job.c.uuid == job_id).values(comments=text)
                )

    async def tables_wanted(self, *, limit: int) -> list[str]:
        asked = (
            select(job.c.uuid)
            .where(job.c.table_state == TableState.WAITING.value, job.c.state.in_(_WITH_RESULT))
            .order_by(job.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return list((await connection.scalars(asked)).all())

    async def write_table(
        self, job_id: str, table: TableInfo, *, overwrite: bool
    ) -> tuple[bool, str | None]:
        async with self._database.write() as connection:
            asked = select(job.c.table_state).where(job.c.uuid == job_id).with_for_update()
            if await connection.scalar(asked) != TableState.WAITING.value:
                return False, None
            replaced = await put_table(connection, table)
            if replaced is not None and not overwrite:
                raise TableExists(f'You have a table "{table.name}".', table=table.name)
            await connection.execute(
                update(job).where(job.c.uuid == job_id).values(table_state=TableState.WRITTEN.value)
            )
            return True, replaced

    async def refuse_table(self, job_id: str, error: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(job)
                .where(job.c.uuid == job_id, job.c.table_state == TableState.WAITING.value)
                .values(table_state=TableState.FAILED.value, table_error=error)
            )
