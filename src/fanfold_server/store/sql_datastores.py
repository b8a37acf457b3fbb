"""`DatastoreStore` over SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfold_server.model.actor import EVERYONE
from fanfold_server.model.datastore import Datastore, DatastoreType, SaveMode, StoredObject
from fanfold_server.model.errors import DatastoreExists, NotGrantable, QuotaExceeded, Unexpected
from fanfold_server.store.schema import (
    account,
    datastore,
    datastore_grant,
    datastore_object,
    insert_new,
    loose_blob,
)
from fanfold_server.store.sql_accounts import Transactions

MIB = 1 << 20


class SqlDatastores:
    """`DatastoreStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def expect(self, blobs: Collection[str], at: datetime) -> None:
        if blobs:
            async with self._database.write() as connection:
                rows = [{"blob": blob, "since": at} for blob in blobs]
                await connection.execute(insert(loose_blob), rows)

    async def save(
        self,
        owner: str,
        name: str,
        objects: Sequence[StoredObject],
        *,
        mode: SaveMode,
        description: str,
        grantable: bool | None,
        at: datetime,
        quota_bytes: int,
    ) -> list[str]:
        async with self._database.write() as connection:
            await _one_at_a_time(connection, owner)
            there = (
                await connection.execute(select(datastore).where(_is(name, owner)))
            ).one_or_none()
            if there is not None and mode is SaveMode.NEW:
                raise DatastoreExists(f'You have a datastore "{name}".', datastore=name)
            loose: list[str] = []
            if there is None:
                made = insert(datastore).values(
                    owner=owner,
                    name=name,
                    description=description,
                    grantable=bool(grantable),
                    created=at,
                )
                number = (await connection.execute(made.returning(datastore.c.id))).scalar_one()
            else:
                number = there.id
                changed: dict[str, Any] = {}
                if mode is SaveMode.OVERWRITE:
                    changed = {"description": description, "created": at}
                    loose += await _drop_objects(connection, number, None, at)
                else:
                    loose += await _drop_objects(connection, number, {o.name for o in objects}, at)
                if grantable is not None:
                    changed["grantable"] = grantable
                if changed:
                    await connection.execute(
                        update(datastore).where(datastore.c.id == number).values(changed)
                    )
                if grantable is False:
                    await connection.execute(
                        delete(datastore_grant).where(datastore_grant.c.datastore_id == number)
                    )
            await _add_objects(connection, number, objects)
            await _check_quota(connection, owner, quota_bytes)
            return loose

    async def find(self, name: str, *, reader: str, owner: str | None = None) -> Datastore | None:
        asked = _is(name, reader if owner is None else owner)
        found = await self._datastores(and_(asked, _seen_by(reader)))
        return found[0][1] if found else None

    async def listing(
        self, reader: str, which: DatastoreType
    ) -> list[tuple[Datastore, str | None]]:
        mine = datastore.c.owner == reader
        match which:
            case DatastoreType.USER | DatastoreType.GRANT:
                wanted: ColumnElement[bool] = mine
            case DatastoreType.PRIVATE:
                wanted = and_(mine, datastore.c.grantable.is_(False))
            case DatastoreType.GRANTABLE:
                wanted = and_(mine, datastore.c.grantable.is_(True))
            case DatastoreType.ALL:
                wanted = _seen_by(reader)
            case DatastoreType.GRANTED:
                wanted = and_(_seen_by(reader), ~mine)
            case _:
                assert_never(which)
        found = await self._datastores(wanted)
        if which is not DatastoreType.GRANT:
            return [(each, None) for _, each in found]
        grants = (
            select(datastore_grant.c.datastore_id, datastore_grant.c.grantee)
            .select_from(datastore_grant.join(datastore))
            .where(mine)
            .order_by(_everyone_last(), datastore_grant.c.grantee)
        )
        async with self._database.read() as connection:
            grantees = (await connection.execute(grants)).all()
        return [
            (each, row.grantee)
            for number, each in found
            for row in grantees
            if row.datastore_id == number
        ]

    async def delete(
        self, name: str, owner: str, objects: Collection[str] | None, at: datetime
    ) -> list[str] | None:
        async with self._database.write() as connection:
            await _one_at_a_time(connection, owner)
            number = await connection.scalar(select(datastore.c.id).where(_is(name, owner)))
            if number is None:
                return None
            if objects is not None:
                there = select(func.count()).where(
                    datastore_object.c.datastore_id == number, datastore_object.c.name.in_(objects)
                )
                if await connection.scalar(there) != len(set(objects)):
                    return None
            loose = await _drop_objects(connection, number, objects, at)
            if objects is None:
                await connection.execute(delete(datastore).where(datastore.c.id == number))
            return loose

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        async with self._database.write() as connection:
            asked = select(datastore.c.id, datastore.c.grantable).where(_is(name, owner))
            found = (await connection.execute(asked.with_for_update())).one_or_none()
            if found is None:
                return False
            if not found.grantable:
                raise NotGrantable(
                    f'The datastore "{name}" may not be granted: save it with grantable=True; '
                    "oml.ds.save({}, name, grantable=True, append=True) leaves its objects."
                )
            added = insert_new(connection.dialect.name, datastore_grant).values(
                datastore_id=found.id, grantee=grantee, created=at
            )
            await connection.execute(added)
            return True

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        number = select(datastore.c.id).where(_is(name, owner)).scalar_subquery()
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(datastore_grant).where(
                    datastore_grant.c.datastore_id == number, datastore_grant.c.grantee == grantee
                )
            )
        return gone.rowcount > 0

    async def grants(self, name: str, owner: str) -> list[str]:
        asked = (
            select(datastore_grant.c.grantee)
            .select_from(datastore_grant.join(datastore))
            .where(_is(name, owner))
            .order_by(_everyone_last(), datastore_grant.c.grantee)
        )
        async with self._database.read() as connection:
            return list((await connection.scalars(asked)).all())

    async def loose(self, before: datetime) -> list[str]:
        asked = select(loose_blob.c.blob).where(loose_blob.c.since < before)
        async with self._database.read() as connection:
            return list((await connection.scalars(asked)).all())

    async def forget(self, blobs: Collection[str]) -> None:
        if blobs:
            async with self._database.write() as connection:
                await connection.execute(delete(loose_blob).where(loose_blob.c.blob.in_(blobs)))

    async def _datastores(self, wanted: ColumnElement[bool]) -> list[tuple[int, Datastore]]:
        """Read datastores with their objects, by owner and name."""
        asked = select(datastore).where(wanted).order_by(datastore.c.owner, datastore.c.name)
        theirs = (
            select(datastore_object)
            .select_from(datastore_object.join(datastore))
            .where(wanted)
            .order_by(datastore_object.c.name)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
            objects = (await connection.execute(theirs)).all()
        held: dict[int, list[StoredObject]] = {row.id: [] for row in rows}
        for each in objects:
            if each.datastore_id in held:  # else it was saved between the two reads
                held[each.datastore_id].append(_object(each))
        return [(row.id, _datastore(row, held[row.id])) for row in rows]


async def _one_at_a_time(connection: AsyncConnection, owner: str) -> None:
    """Let an account's changes wait for one another: sums and names hold until the end."""
    await connection.execute(select(account.c.id).where(account.c.name == owner).with_for_update())


async def _drop_objects(
    connection: AsyncConnection, number: int, names: Collection[str] | None, at: datetime
) -> list[str]:
    """Take objects (None: all) out of a datastore; gives their blobs, which are loose now."""
    which = datastore_object.c.datastore_id == number
    if names is not None:
        which = and_(which, datastore_object.c.name.in_(names))
    gone = delete(datastore_object).where(which).returning(datastore_object.c.blob)
    blobs = list((await connection.scalars(gone)).all())
    if blobs:
        rows = [{"blob": blob, "since": at} for blob in blobs]
        await connection.execute(insert(loose_blob), rows)
    return blobs


async def _add_objects(
    connection: AsyncConnection, number: int, objects: Sequence[StoredObject]
) -> None:
    if not objects:
        return
    blobs = [each.blob for each in objects]
    taken = await connection.execute(delete(loose_blob).where(loose_blob.c.blob.in_(blobs)))
    if taken.rowcount != len(blobs):
        raise Unexpected("The objects took too long to be stored; try again.")
    rows = [
        {
            "datastore_id": number,
            "name": each.name,
            "class": each.kind,
            "size_bytes": each.size_bytes,
            "length": each.length,
            "rows": each.rows,
            "columns": each.columns,
            "blob": each.blob,
        }
        for each in objects
    ]
    await connection.execute(insert(datastore_object), rows)


async def _check_quota(connection: AsyncConnection, owner: str, quota_bytes: int) -> None:
    total = (
        select(func.coalesce(func.sum(datastore_object.c.size_bytes), 0))
        .select_from(datastore_object.join(datastore))
        .where(datastore.c.owner == owner)
    )
    used = int(await connection.scalar(total) or 0)
    if used > quota_bytes:
        raise QuotaExceeded(
            f"Your datastores would take {used} bytes; an account's may take {quota_bytes} "
            f"({quota_bytes // MIB} MiB, max_user_datastore_mib). Delete what you do not need.",
            limit="max_user_datastore_mib",
            used=used,
            quota=quota_bytes,
        )


def _is(name: str, owner: str) -> ColumnElement[bool]:
    return and_(datastore.c.owner == owner, datastore.c.name == name)


def _seen_by(reader: str) -> ColumnElement[bool]:
    granted = exists().where(
        datastore_grant.c.datastore_id == datastore.c.id,
        datastore_grant.c.grantee.in_((reader, EVERYONE)),
    )
    return or_(datastore.c.owner == reader, granted)


def _everyone_last() -> ColumnElement[int]:
    return case((datastore_grant.c.grantee == EVERYONE, 1), else_=0)


def _object(row: Row[*tuple[Any, ...]]) -> StoredObject:
    found = row._mapping  # noqa: SLF001  # `class` is no name of Python's
    return StoredObject(
        name=row.name,
        kind=found["class"],
        size_bytes=row.size_bytes,
        length=row.length,
        rows=row.rows,
        columns=row.columns,
        blob=row.blob,
    )


def _datastore(row: Row[*tuple[Any, ...]], objects: Sequence[StoredObject]) -> Datastore:
    return Datastore(
        owner=row.owner,
        name=row.name,
        description=row.description,
        grantable=row.grantable,
        created=row.created,
        objects=tuple(objects),
    )
