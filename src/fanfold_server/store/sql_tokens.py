"""`AccessTokenStore` over SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, func, select
from sqlalchemy.exc import IntegrityError

from fanfold_server.model.actor import AccessToken, Actor, Role, Scope
from fanfold_server.store.schema import access_token, account
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.tokens_port import FoundToken


class SqlTokens:
    """`AccessTokenStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, user: str, token: AccessToken, digest: bytes, *, limit: int) -> bool | None:
        owner, script = token.script or (None, None)
        try:
            async with self._database.write() as connection:
                # The lock keeps the account from being disabled between the look and the insert.
                asked = (
                    select(account.c.id)
                    .where(account.c.name == user, account.c.disabled.is_(False))
                    .with_for_update()
                )
                user_id = await connection.scalar(asked)
                if user_id is None:
                    return None
                count = select(func.count()).where(access_token.c.account_id == user_id)
                if (await connection.scalar(count) or 0) >= limit:
                    return None
                await connection.execute(
                    access_token.insert().values(
                        account_id=user_id,
                        name=token.name,
                        digest=digest,
                        scopes=" ".join(sorted(token.scopes)),
                        script_owner=owner,
                        script_name=script,
                        created=token.created,
                        expires=token.expires,
                    )
                )
        except IntegrityError:
            return False
        return True

    async def find(self, digest: bytes) -> FoundToken | None:
        asked = (
            select(account.c.id, account.c.role, account.c.name.label("user"), access_token)
            .select_from(access_token.join(account))
            .where(access_token.c.digest == digest, account.c.disabled.is_(False))
        )
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        if row is None:
            return None
        token = _token(row)
        actor = Actor(
            user_id=row.account_id,
            name=row.user,
            role=Role(row.role),
            scopes=token.scopes,
            script=token.script,
            token=token.name,
        )
        return FoundToken(actor=actor, expires=token.expires)

    async def tokens(self, user: str) -> list[AccessToken]:
        asked = (
            select(access_token)
            .select_from(access_token.join(account))
            .where(account.c.name == user)
            .order_by(access_token.c.name)
        )
        async with self._database.read() as connection:
            return [_token(row) for row in await connection.execute(asked)]

    async def remove(self, user: str, name: str) -> bool:
        its_account = select(account.c.id).where(account.c.name == user).scalar_subquery()
        async with self._database.write() as connection:
            done = await connection.execute(
                delete(access_token).where(
                    access_token.c.account_id == its_account, access_token.c.name == name
                )
            )
        return done.rowcount > 0

    async def remove_presented(self, digest: bytes) -> bool:
        async with self._database.write() as connection:
            done = await connection.execute(
                delete(access_token).where(access_token.c.digest == digest)
            )
        return done.rowcount > 0


def _token(row: Row[Any]) -> AccessToken:
    bound = None if row.script_name is None else (row.script_owner, row.script_name)
    return AccessToken(
        name=row.name,
        scopes=frozenset(Scope(word) for word in row.scopes.split()),
        script=bound,
        created=row.created,
        expires=row.expires,
    )
