"""`ScriptStore` over SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER
from fanfold_server.model.script import Grant, Script, ScriptType
from fanfold_server.store.port import Creator, Draft, Found
from fanfold_server.store.schema import account, script, script_grant, script_version
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.sql_network import NETWORK_COLUMNS, script_network

_AnyRow = Row[*tuple[Any, ...]]

_CURRENT = and_(
    script_version.c.script_id == script.c.id, script_version.c.version == script.c.current
)
_COLUMNS = (
    script.c.name,
    script.c.owner,
    script_version.c.version,
    script_version.c.digest,
    script_version.c.source,
    script_version.c.entry,
    script_version.c.description,
    script_version.c.created,
    *NETWORK_COLUMNS,
)


class SqlScripts:
    """`ScriptStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def creator(self, name: str, owner: str) -> Creator | None:
        asked = (
            select(account.c.id, account.c.name)
            .select_from(script.join(account))
            .where(_is(name, owner))
        )
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        return None if row is None else Creator(user_id=row.id, name=row.name)

    async def publish(
        self, draft: Draft, *, by: int, replaces: int | None
    ) -> tuple[Script, bool] | None:
        its_name = {"name": draft.name, "owner": draft.owner}
        try:
            async with self._database.write() as connection:
                there = (
                    await connection.execute(
                        select(script).where(_is(**its_name)).with_for_update()
                    )
                ).one_or_none()
                if (None if there is None else there.creator_id) != replaces:
                    return None
                version = 1
                if there is None:
                    added = await connection.execute(
                        insert(script)
                        .values(**its_name, creator_id=by, current=1)
                        .returning(script.c.id)
                    )
                    script_id = added.scalar_one()
                else:
                    script_id = there.id
                    current = (
                        await connection.execute(_select_current().where(script.c.id == script_id))
                    ).one()
                    if _says_the_same(draft, current):
                        return _script(current), False
                    newest = select(func.max(script_version.c.version)).where(
                        script_version.c.script_id == script_id
                    )
                    version = (await connection.execute(newest)).scalar_one() + 1
                    await connection.execute(
                        update(script).where(script.c.id == script_id).values(current=version)
                    )
                await connection.execute(
                    insert(script_version).values(
                        script_id=script_id,
                        version=version,
                        digest=draft.digest,
                        source=draft.source,
                        entry=draft.entry,
                        description=draft.description,
                        publisher_id=by,
                        created=draft.created,
                    )
                )
        except IntegrityError:
            return None  # another process stored a script of this name in the same moment
        stored = Script(
            network=None
            if there is None
            else script_network(there.network_grant, there.network_limit),
            name=draft.name,
            owner=draft.owner,
            version=version,
            digest=draft.digest,
            source=draft.source,
            entry=draft.entry,
            description=draft.description,
            created=draft.created,
        )
        return stored, there is None

    async def find(
        self, name: str, *, reader: str, owner: str | None = None, version: int | None = None
    ) -> Found | None:
        newest = (
            select(func.max(script_version.c.version))
            .where(script_version.c.script_id == script.c.id)
            .correlate(script)
            .scalar_subquery()
        )
        wanted = _CURRENT if version is None else and_(
            script_version.c.script_id == script.c.id, script_version.c.version == version
        )  # fmt: skip
        seen: ColumnElement[bool]
        if owner is None:
            seen = script.c.owner.in_([reader, GLOBAL_OWNER])
        else:
            seen = or_(and_(script.c.owner == owner, _visible(reader)), _is_global_of(owner))
        asked = (
            select(*_COLUMNS, newest.label("newest"))
            .select_from(script.outerjoin(script_version, wanted))
            .where(script.c.name == name, seen)
            .order_by(script.c.owner == GLOBAL_OWNER)
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        if row is None:
            return None
        found = None if row.version is None else _script(row)
        return Found(owner=row.owner, newest=row.newest, script=found)

    async def versions(self, name: str, owner: str) -> list[Script]:
        asked = (
            select(*_COLUMNS)
            .select_from(script.join(script_version))
            .where(_is(name, owner))
            .order_by(script_version.c.version.desc())
        )
        async with self._database.read() as connection:
            return [_script(row) for row in await connection.execute(asked)]

    async def make_current(
        self, name: str, owner: str, version: int, *, creator: int
    ) -> Script | None:
        mine = and_(_is(name, owner), script.c.creator_id == creator)
        there = (
            select(script_version.c.version)
            .where(script_version.c.script_id == script.c.id, script_version.c.version == version)
            .correlate(script)
            .exists()
        )
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(script).where(mine, there).values(current=version)
            )
            if changed.rowcount == 0:
                return None
            return _script((await connection.execute(_select_current().where(mine))).one())

    async def drop(self, name: str, owner: str, *, creator: int) -> bool:
        async with self._database.write() as connection:
            dropped = await connection.execute(
                delete(script).where(_is(name, owner), script.c.creator_id == creator)
            )
            return dropped.rowcount > 0

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        async with self._database.write() as connection:
            asked = select(script.c.id).where(_is(name, owner)).with_for_update()
            script_id = await connection.scalar(asked)
            if script_id is None:
                return False
            given = select(script_grant.c.grantee).where(
                script_grant.c.script_id == script_id, script_grant.c.grantee == grantee
            )
            if await connection.scalar(given) is None:
                await connection.execute(
                    insert(script_grant).values(script_id=script_id, grantee=grantee, created=at)
                )
            return True

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        its_id = select(script.c.id).where(_is(name, owner)).scalar_subquery()
        async with self._database.write() as connection:
            revoked = await connection.execute(
                delete(script_grant).where(
                    script_grant.c.script_id == its_id, script_grant.c.grantee == grantee
                )
            )
            return revoked.rowcount > 0

    async def grants(self, name: str, owner: str) -> list[Grant]:
        asked = (
            select(script_grant.c.grantee)
            .select_from(script.join(script_grant))
            .where(_is(name, owner))
            .order_by(script_grant.c.grantee == EVERYONE, script_grant.c.grantee)
        )
        async with self._database.read() as connection:
            grantees = (await connection.scalars(asked)).all()
        return [
            Grant(name=name, owner=owner, grantee=None if grantee == EVERYONE else grantee)
            for grantee in grantees
        ]

    async def listing(self, reader: str, which: ScriptType) -> list[tuple[Script, str | None]]:
        asked = _select_current()
        match which:
            case ScriptType.USER:
                asked = asked.where(script.c.owner == reader)
            case ScriptType.GLOBAL:
                asked = asked.where(script.c.owner == GLOBAL_OWNER)
            case ScriptType.ALL:
                asked = asked.where(_visible(reader))
            case ScriptType.GRANTED:
                asked = asked.where(_granted_to(reader), script.c.owner != reader)
            case ScriptType.GRANT:
                asked = (
                    asked.add_columns(script_grant.c.grantee)
                    .join(script_grant, script_grant.c.script_id == script.c.id)
                    .where(script.c.owner == reader)
                    .order_by(script.c.name, script_grant.c.grantee)
                )
            case _:
                assert_never(which)
        async with self._database.read() as connection:
            rows = await connection.execute(asked.order_by(script.c.name, script.c.owner))
            return [
                (_script(row), row.grantee if which is ScriptType.GRANT else None) for row in rows
            ]


def _is(name: str, owner: str) -> ColumnElement[bool]:
    return and_(script.c.owner == owner, script.c.name == name)


def _granted_to(reader: str) -> ColumnElement[bool]:
    return (
        select(script_grant.c.script_id)
        .where(
            script_grant.c.script_id == script.c.id,
            script_grant.c.grantee.in_([reader, EVERYONE]),
        )
        .correlate(script)
        .exists()
    )


def _visible(reader: str) -> ColumnElement[bool]:
    return or_(script.c.owner.in_([reader, GLOBAL_OWNER]), _granted_to(reader))


def _is_global_of(creator: str) -> ColumnElement[bool]:
    its_creator = select(account.c.id).where(account.c.name == creator).scalar_subquery()
    return and_(script.c.owner == GLOBAL_OWNER, script.c.creator_id == its_creator)


def _select_current() -> Select[Any]:
    return select(*_COLUMNS).select_from(script.join(script_version, _CURRENT))


def _says_the_same(draft: Draft, current: _AnyRow) -> bool:
    return draft.digest == current.digest and draft.description in (None, current.description)


def _script(row: _AnyRow) -> Script:
    return Script(
        name=row.name,
        owner=row.owner,
        version=row.version,
        digest=row.digest,
        source=row.source,
        entry=row.entry,
        description=row.description,
        created=row.created,
        network=script_network(row.network_grant, row.network_limit),
    )
