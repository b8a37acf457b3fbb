"""`SecretStore` over SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfold_server.model.secret import SecretInfo
from fanfold_server.store.schema import insert_new, secret, secret_grant
from fanfold_server.store.sql_accounts import Transactions


class SqlSecrets:
    """`SecretStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def put(
        self, owner: str, name: str, sealed: bytes, at: datetime, *, limit: int
    ) -> bool | None:
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(secret)
                .where(secret.c.owner == owner, secret.c.name == name)
                .values(sealed=sealed, changed=at)
            )
            if changed.rowcount:
                return False
            count = select(func.count()).where(secret.c.owner == owner)
            if (await connection.scalar(count) or 0) >= limit:
                return None
            row = {"owner": owner, "name": name, "sealed": sealed, "changed": at}
            await connection.execute(insert(secret).values(row))
            return True

    async def secrets(self, owner: str) -> list[SecretInfo]:
        asked = (
            select(secret.c.name, secret.c.changed, secret_grant.c.script)
            .select_from(secret.outerjoin(secret_grant))
            .where(secret.c.owner == owner)
            .order_by(secret.c.name, secret_grant.c.script)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        found: dict[str, SecretInfo] = {}
        for row in rows:
            earlier = found[row.name].scripts if row.name in found else ()
            scripts = earlier if row.script is None else (*earlier, row.script)
            found[row.name] = SecretInfo(name=row.name, changed=row.changed, scripts=scripts)
        return list(found.values())

    async def drop(self, owner: str, name: str) -> bool:
        async with self._database.write() as connection:
            done = await connection.execute(
                delete(secret).where(secret.c.owner == owner, secret.c.name == name)
            )
        return done.rowcount > 0

    async def grant(self, owner: str, name: str, script: str) -> bool:
        async with self._database.write() as connection:
            number = await _number(connection, owner, name)
            if number is None:
                return False
            new = insert_new(connection.dialect.name, secret_grant)
            await connection.execute(new.values(secret_id=number, script=script))
        return True

    async def revoke(self, owner: str, name: str, script: str) -> bool:
        async with self._database.write() as connection:
            number = await _number(connection, owner, name)
            done = await connection.execute(
                delete(secret_grant).where(
                    secret_grant.c.secret_id == number, secret_grant.c.script == script
                )
            )
        return done.rowcount > 0

    async def sealed(self, owner: str, name: str, script: str) -> bytes | None:
        asked = (
            select(secret.c.sealed)
            .select_from(secret.join(secret_grant))
            .where(secret.c.owner == owner, secret.c.name == name, secret_grant.c.script == script)
        )
        async with self._database.read() as connection:
            found: bytes | None = await connection.scalar(asked)
        return found


async def _number(connection: AsyncConnection, owner: str, name: str) -> int | None:
    asked = select(secret.c.id).where(secret.c.owner == owner, secret.c.name == name)
    number: int | None = await connection.scalar(asked)
    return number
