"""`SourceStore` over SQL. Passwords are sealed on their way in (`vault.py`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from fanfold_server.model.actor import EVERYONE
from fanfold_server.model.data_source import DataSource, SourceGrant, SourceKind
from fanfold_server.store.schema import data_source, default_source, source_grant
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.vault import Vault


class SqlSources:
    """`SourceStore` over SQL."""

    def __init__(self, database: Transactions, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def put(self, source: DataSource, password: str | None) -> bool:
        sealed = None if password is None else self._vault.seal(source.name, password)
        values = {
            "kind": source.kind.value,
            "url": source.url,
            "password": source.password,
            "sealed": sealed,
            "max_connections": source.max_connections,
            "created": source.created,
        }
        while True:
            try:
                async with self._database.write() as connection:
                    changed = await connection.execute(
                        update(data_source).where(data_source.c.name == source.name).values(values)
                    )
                    if changed.rowcount:
                        return False
                    await connection.execute(insert(data_source).values(name=source.name, **values))
                    return True
            except IntegrityError:
                continue  # another process was first: there is one to replace now

    async def find(self, name: str, *, reader: str | None) -> DataSource | None:
        asked = select(data_source).where(data_source.c.name == name, _used_by(reader))
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        return None if row is None else _source(row)

    async def listing(self, *, reader: str | None) -> list[DataSource]:
        asked = select(data_source).where(_used_by(reader)).order_by(data_source.c.name)
        async with self._database.read() as connection:
            return [_source(row) for row in await connection.execute(asked)]

    async def password(self, source: DataSource) -> str | None:
        asked = select(data_source.c.sealed).where(data_source.c.name == source.name)
        async with self._database.read() as connection:
            sealed = await connection.scalar(asked)
        return self._vault.reveal(source, sealed)

    async def drop(self, name: str) -> bool:
        async with self._database.write() as connection:
            gone = await connection.execute(delete(data_source).where(data_source.c.name == name))
        return gone.rowcount > 0

    async def grant(self, name: str, grantee: str, at: datetime) -> bool:
        async with self._database.write() as connection:
            asked = select(data_source.c.id).where(data_source.c.name == name).with_for_update()
            source_id = await connection.scalar(asked)
            if source_id is None:
                return False
            there = select(source_grant).where(
                source_grant.c.source_id == source_id, source_grant.c.grantee == grantee
            )
            if (await connection.execute(there)).one_or_none() is None:
                await connection.execute(
                    insert(source_grant).values(source_id=source_id, grantee=grantee, created=at)
                )
            return True

    async def revoke(self, name: str, grantee: str) -> bool:
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(source_grant).where(
                    source_grant.c.source_id == _id(name), source_grant.c.grantee == grantee
                )
            )
        return gone.rowcount > 0

    async def grants(self, name: str) -> list[SourceGrant]:
        last = case((source_grant.c.grantee == EVERYONE, 1), else_=0)
        asked = (
            select(source_grant.c.grantee)
            .where(source_grant.c.source_id == _id(name))
            .order_by(last, source_grant.c.grantee)
        )
        async with self._database.read() as connection:
            names = (await connection.scalars(asked)).all()
        return [SourceGrant(grantee=None if name == EVERYONE else name) for name in names]

    async def default(self, account: str) -> str | None:
        asked = (
            select(data_source.c.name)
            .select_from(default_source.join(data_source))
            .where(default_source.c.account == account)
        )
        async with self._database.read() as connection:
            found = await connection.scalar(asked)
        return None if found is None else str(found)

    async def set_default(self, account: str, name: str | None) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                delete(default_source).where(default_source.c.account == account)
            )
            if name is not None:
                await connection.execute(
                    insert(default_source).values(account=account, source_id=_id(name))
                )


def _id(name: str) -> Any:
    return select(data_source.c.id).where(data_source.c.name == name).scalar_subquery()


def _used_by(reader: str | None) -> ColumnElement[bool]:
    granted = source_grant.c.source_id == data_source.c.id
    if reader is None:
        return data_source.c.id.is_not(None)
    return exists().where(granted, source_grant.c.grantee.in_((reader, EVERYONE)))


def _source(row: Row[*tuple[Any, ...]]) -> DataSource:
    return DataSource(
        name=row.name,
        kind=SourceKind(row.kind),
        url=row.url,
        password=row.password,
        max_connections=row.max_connections,
        created=row.created,
    )
