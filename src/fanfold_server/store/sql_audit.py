"""`AuditStore` over SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import delete, insert, select

from fanfold_server.model.audit import AuditEntry, AuditFilter
from fanfold_server.store.prepared import Prepared
from fanfold_server.store.schema import audit
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.writing import Transaction, Writer

_NAMES = [field.name for field in fields(AuditEntry)]
_APPEND = Prepared(insert(audit), _NAMES)


class SqlAudit:
    """`AuditStore` over SQL."""

    def __init__(self, database: Transactions, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return

        def insert_all(transaction: Transaction) -> None:
            rows = [{name: getattr(entry, name) for name in _NAMES} for entry in entries]
            _APPEND.run_each(transaction.connection, rows)

        await self._writer.run(insert_all, synced=False)

    async def entries(
        self, which: AuditFilter, *, limit: int, below: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        asked = select(audit).order_by(audit.c.id.desc()).limit(limit)
        for name in ("actor", "action", "target"):
            if (value := getattr(which, name)) is not None:
                asked = asked.where(audit.c[name] == value)
        if which.since is not None:
            asked = asked.where(audit.c.at >= which.since)
        if which.before is not None:
            asked = asked.where(audit.c.at < which.before)
        if below is not None:
            asked = asked.where(audit.c.id < below)
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).mappings().all()
        return [(row["id"], AuditEntry(**{name: row[name] for name in _NAMES})) for row in rows]

    async def forget_before(self, moment: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(audit).where(audit.c.at < moment))
