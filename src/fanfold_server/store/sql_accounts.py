"""`AccountStore` and `SessionStore` over SQL."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy import and_, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfold_server.model.actor import Account, Actor, Role
from fanfold_server.model.errors import UserExists
from fanfold_server.store.port import Credentials, Failures, TokenRecord
from fanfold_server.store.schema import (
    access_token,
    account,
    insert_new,
    login_failure,
    session,
    token,
)


class Transactions(Protocol):
    """What hands out transactions: `database.Database`."""

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]: ...


class SqlAccounts:
    """`AccountStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def has_accounts(self) -> bool:
        async with self._database.read() as connection:
            return bool(await connection.scalar(select(exists(select(account.c.id)))))

    async def add(self, name: str, password_hash: str, role: Role, created: datetime) -> None:
        row = {
            "name": name,
            "password_hash": password_hash,
            "role": role.value,
            "disabled": False,
            "created": created,
        }
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(account).values(row))
        except IntegrityError as exc:
            raise UserExists(f'There is a user "{name}" already.') from exc

    async def credentials(self, name: str) -> Credentials | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(account).where(account.c.name == name))
            ).one_or_none()
        if row is None:
            return None
        return Credentials(
            actor=Actor(user_id=row.id, name=row.name, role=Role(row.role)),
            disabled=row.disabled,
            password_hash=row.password_hash,
        )

    async def accounts(self) -> list[Account]:
        async with self._database.read() as connection:
            rows = (await connection.execute(select(account).order_by(account.c.name))).all()
        return [
            Account(name=row.name, role=Role(row.role), disabled=row.disabled, created=row.created)
            for row in rows
        ]

    async def replace_password(self, name: str, password_hash: str) -> bool:
        return await self._change(name, {"password_hash": password_hash}, end_sessions=True)

    async def set_disabled(self, name: str, *, disabled: bool) -> bool:
        return await self._change(name, {"disabled": disabled}, end_sessions=disabled)

    async def _change(self, name: str, values: dict[str, object], *, end_sessions: bool) -> bool:
        async with self._database.write() as connection:
            result = await connection.execute(
                update(account).where(account.c.name == name).values(values)
            )
            if result.rowcount == 0:
                return False
            if end_sessions:
                owner = select(account.c.id).where(account.c.name == name).scalar_subquery()
                await connection.execute(
                    update(session).where(session.c.account_id == owner).values(revoked=True)
                )
                await connection.execute(
                    delete(access_token).where(access_token.c.account_id == owner)
                )
            return True


class SqlSessions:
    """`SessionStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def open_session(
        self,
        login: Credentials,
        digest: bytes,
        *,
        started: datetime,
        ends: datetime,
        token_expires: datetime,
    ) -> bool:
        unchanged = and_(
            account.c.id == login.actor.user_id,
            account.c.password_hash == login.password_hash,
            account.c.disabled.is_(False),
        )
        async with self._database.write() as connection:
            # The lock keeps a password from changing between the look and the insert.
            asked = select(account.c.id).where(unchanged).with_for_update()
            if await connection.scalar(asked) is None:
                return False
            begun = await connection.execute(
                insert(session)
                .values(account_id=login.actor.user_id, started=started, ends=ends, revoked=False)
                .returning(session.c.id)
            )
            await connection.execute(
                insert(token).values(
                    digest=digest, session_id=begun.scalar_one(), expires=token_expires
                )
            )
            return True

    async def add_token(self, session_id: int, digest: bytes, expires: datetime) -> bool:
        async with self._database.write() as connection:
            open_one = (
                select(session.c.id)
                .where(session.c.id == session_id, session.c.revoked.is_(False))
                .with_for_update()
            )
            if await connection.scalar(open_one) is None:
                return False
            await connection.execute(
                insert(token).values(digest=digest, session_id=session_id, expires=expires)
            )
            return True

    async def token(self, digest: bytes) -> TokenRecord | None:
        asked = (
            select(
                account.c.id,
                account.c.name,
                account.c.role,
                session.c.id.label("session_id"),
                token.c.expires,
                session.c.ends,
                or_(session.c.revoked, account.c.disabled).label("revoked"),
            )
            .select_from(token.join(session).join(account))
            .where(token.c.digest == digest)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        if row is None:
            return None
        return TokenRecord(
            actor=Actor(user_id=row.id, name=row.name, role=Role(row.role)),
            session=row.session_id,
            expires=row.expires,
            session_expires=row.ends,
            revoked=bool(row.revoked),
        )

    async def end_session(self, digest: bytes) -> None:
        its_session = select(token.c.session_id).where(token.c.digest == digest).scalar_subquery()
        async with self._database.write() as connection:
            await connection.execute(
                update(session).where(session.c.id == its_session).values(revoked=True)
            )

    async def forget_before(self, moment: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(session).where(session.c.ends < moment))
            await connection.execute(delete(login_failure).where(login_failure.c.last < moment))

    async def failures(self, keys: Iterable[str]) -> dict[str, Failures]:
        asked = select(login_failure).where(login_failure.c.key.in_(list(keys)))
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        return {row.key: Failures(count=row[1], last=row.last) for row in rows}

    async def count_failure(self, keys: Iterable[str], at: datetime, *, quiet: datetime) -> None:
        async with self._database.write() as connection:
            # In one order, so that two logins never wait for each other.
            for key in sorted(set(keys)):
                mine = login_failure.c.key == key
                await connection.execute(
                    delete(login_failure).where(mine, login_failure.c.last <= quiet)
                )
                new = insert_new(connection.dialect.name, login_failure)
                await connection.execute(new.values(key=key, count=0, last=at))
                await connection.execute(
                    update(login_failure)
                    .where(mine)
                    .values(count=login_failure.c["count"] + 1, last=at)
                )

    async def clear_failures(self, key: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(login_failure).where(login_failure.c.key == key))
