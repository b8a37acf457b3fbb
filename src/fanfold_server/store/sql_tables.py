"""`TableStore` over SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    case,
    delete,
    exists,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER
from fanfold_server.model.rows import ColumnType, TableGrant, TableInfo
from fanfold_server.store.schema import data_table, table_grant
from fanfold_server.store.sql_accounts import Transactions


class SqlTables:
    """`TableStore` over SQL, and the catalog of `rows/port.py`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def put(self, table: TableInfo) -> str | None:
        while True:
            try:
                async with self._database.write() as connection:
                    return await put_table(connection, table)
            except IntegrityError:
                continue  # another process was first: there is one to replace now

    async def find(self, name: str, *, reader: str, owner: str | None = None) -> TableInfo | None:
        found = await self._readable(reader, [(owner, name)])
        return _table(found[0]) if found else None

    async def readable(
        self, reader: str, names: Sequence[tuple[str | None, str]]
    ) -> list[TableInfo]:
        return [_table(row) for row in await self._readable(reader, names)]

    async def listing(self, reader: str) -> list[TableInfo]:
        mine_first = case((data_table.c.owner == reader, 0), else_=1)
        asked = (
            select(data_table)
            .where(_seen_by(reader))
            .order_by(mine_first, data_table.c.owner, data_table.c.folded)
        )
        async with self._database.read() as connection:
            return [_table(row) for row in await connection.execute(asked)]

    async def drop(self, name: str, owner: str) -> str | None:
        asked = delete(data_table).where(_is(name, owner)).returning(data_table.c.file)
        async with self._database.write() as connection:
            file = (await connection.execute(asked)).scalar_one_or_none()
        return None if file is None else str(file)

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        async with self._database.write() as connection:
            asked = select(data_table.c.id).where(_is(name, owner)).with_for_update()
            table_id = await connection.scalar(asked)
            if table_id is None:
                return False
            there = select(table_grant).where(
                table_grant.c.table_id == table_id, table_grant.c.grantee == grantee
            )
            if (await connection.execute(there)).one_or_none() is None:
                await connection.execute(
                    insert(table_grant).values(table_id=table_id, grantee=grantee, created=at)
                )
            return True

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        table_id = select(data_table.c.id).where(_is(name, owner)).scalar_subquery()
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(table_grant).where(
                    table_grant.c.table_id == table_id, table_grant.c.grantee == grantee
                )
            )
        return gone.rowcount > 0

    async def grants(self, name: str, owner: str) -> list[TableGrant]:
        asked = (
            select(table_grant.c.grantee)
            .select_from(table_grant.join(data_table))
            .where(_is(name, owner))
            .order_by(case((table_grant.c.grantee == EVERYONE, 1), else_=0), table_grant.c.grantee)
        )
        async with self._database.read() as connection:
            names = (await connection.scalars(asked)).all()
        return [TableGrant(grantee=None if name == EVERYONE else name) for name in names]

    async def files(self) -> list[str]:
        async with self._database.read() as connection:
            return list((await connection.scalars(select(data_table.c.file))).all())

    async def _readable(
        self, reader: str, names: Sequence[tuple[str | None, str]]
    ) -> list[Row[*tuple[Any, ...]]]:
        """Find what each of the names stands for; what is not seen is left out."""
        pairs = []
        for owner, name in dict.fromkeys((owner, name.lower()) for owner, name in names):
            owners = [reader, GLOBAL_OWNER] if owner is None else [owner.upper()]
            pairs += [(each, name) for each in owners]
        asked = select(data_table).where(
            tuple_(data_table.c.owner, data_table.c.folded).in_(pairs), _seen_by(reader)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        return sorted(rows, key=lambda row: row.owner != reader)


async def put_table(connection: AsyncConnection, table: TableInfo) -> str | None:
    """See `TableStore.put`, in a transaction of the caller's.

    Raises:
        IntegrityError: another process has put one of that name just now.
    """
    values = {
        "file": table.file,
        "rows": table.rows,
        "size_bytes": table.size_bytes,
        "columns": json.dumps([[column.name, column.type] for column in table.columns]),
        "created": table.created,
    }
    its_name = _is(table.name, table.owner)
    asked = select(data_table.c.file).where(its_name).with_for_update()
    replaced = await connection.scalar(asked)
    if replaced is not None:
        await connection.execute(update(data_table).where(its_name).values(values))
        return str(replaced)
    new = insert(data_table).values(
        owner=table.owner, name=table.name, folded=table.name.lower(), **values
    )
    await connection.execute(new)
    return None


def _is(name: str, owner: str) -> ColumnElement[bool]:
    return and_(data_table.c.owner == owner, data_table.c.folded == name.lower())


def _seen_by(reader: str) -> ColumnElement[bool]:
    granted = exists().where(
        table_grant.c.table_id == data_table.c.id, table_grant.c.grantee.in_((reader, EVERYONE))
    )
    return or_(data_table.c.owner.in_((reader, GLOBAL_OWNER)), granted)


def _table(row: Row[*tuple[Any, ...]]) -> TableInfo:
    return TableInfo(
        owner=row.owner,
        name=row.name,
        file=row.file,
        rows=row.rows,
        size_bytes=row.size_bytes,
        columns=tuple(ColumnType(name=name, type=kind) for name, kind in json.loads(row.columns)),
        created=row.created,
    )
