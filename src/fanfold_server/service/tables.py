"""Users' tables: loading, looking, dropping, and who else may read them.

A table belongs to the account that loaded it; its owner alone may replace, drop or grant it. An
administrator may also keep tables for everyone, under PYQSYS. Whether a table does not exist or is
not granted, the answer is the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER, Actor, account_name
from fanfold_server.model.errors import (
    Forbidden,
    InvalidField,
    TableExists,
    UnknownGrant,
    UnknownTable,
    UnknownUser,
)
from fanfold_server.model.rows import DataFormat, TableGrant, TableInfo
from fanfold_server.rows.port import TableFiles
from fanfold_server.service.access import utc_now
from fanfold_server.store.port import AccountStore, TableStore

MAX_PREVIEW_ROWS = 1_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$#]{0,127}")
_RESERVED_NAME = re.compile(r"(duckdb|pragma|sqlite|pg)_", re.IGNORECASE)
_RESERVED_OWNERS = frozenset({"INFORMATION_SCHEMA", "PG_CATALOG"})
"""Accounts may have these names, and schemas of the database may not."""


class Tables:
    """Keeps tables.

    Args:
        store: what there is, and who may read it.
        files: makes and reads the files that hold the rows.
        accounts: who there is to grant to.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: TableStore,
        files: TableFiles,
        accounts: AccountStore,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._files = files
        self._accounts = accounts
        self._now = now

    async def load(
        self,
        actor: Actor,
        name: str,
        data: Path,
        form: DataFormat,
        *,
        charset: str | None = None,
        is_global: bool = False,
    ) -> tuple[TableInfo, bool]:
        """Make a table of a file, in place of one of that name, whole or not at all.

        A query that reads the old one goes on reading it.

        Args:
            actor: who loads it.
            name: of the table.
            data: what was sent.
            form: what is in it.
            charset: of text, see `TableFiles.build`.
            is_global: for everyone.

        Returns:
            The table, and whether its name is new.

        Raises:
            InvalidField: the name cannot be a table's.
            Forbidden: `is_global`, and the actor is not an administrator.
            InvalidTable, QueryTooLarge, QueryTimedOut: see `TableFiles.build`.
        """
        owner = self.check(actor, name, is_global=is_global)
        built = await self._files.build(data, form, charset=charset)
        table = TableInfo(
            owner=owner,
            name=name,
            file=built.file,
            rows=built.rows,
            size_bytes=built.size_bytes,
            columns=built.columns,
            created=self._now(),
        )
        try:
            replaced = await self._store.put(table)
        except BaseException:
            await self._files.discard(built.file)
            raise
        if replaced is not None:
            await self._files.discard(replaced)
        return await self.find(actor, name, owner), replaced is None

    def incoming(self) -> Path:
        """Name a file that is not there yet, to receive what `load` is to read."""
        return self._files.incoming()

    def check(self, actor: Actor, name: str, *, is_global: bool) -> str:
        """Say under which owner a table would be loaded; before anything is received.

        Raises:
            InvalidField, Forbidden: see `load`.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidField(
                f"The name {name!a} cannot be a table's: a letter or _, then letters, digits, "
                "_, $ and #, at most 128.",
                field="name",
            )
        if _RESERVED_NAME.match(name) is not None:
            raise InvalidField(
                f"The name {name!a} cannot be a table's: those that begin with duckdb_, pragma_, "
                "sqlite_ or pg_ are catalogues, which no query may read.",
                field="name",
            )
        if actor.name in _RESERVED_OWNERS:
            raise Forbidden(f'The account "{actor.name}" cannot have tables: SQL has that name.')
        return self._owner(actor, is_global=is_global)

    async def check_result(self, actor: Actor, name: str, *, overwrite: bool) -> None:
        """See whether a job may be accepted whose result is to be a table of this name.

        Raises:
            InvalidField, Forbidden: see `load`.
            TableExists: there is one of that name, and it may not be overwritten.
        """
        self.check(actor, name, is_global=False)
        found = await self._store.find(name, reader=actor.name, owner=actor.name)
        if found is not None and not overwrite:
            raise TableExists(
                f'You have a table "{found.name}": ask for "overwrite": true, or take another '
                "name.",
                field="resultTable",
            )

    async def find(self, actor: Actor, name: str, owner: str | None = None) -> TableInfo:
        """Find a table that the actor may read.

        Raises:
            UnknownTable: there is none.
        """
        wanted = None if owner is None else account_name(owner)
        found = await self._store.find(name, reader=actor.name, owner=wanted)
        if found is None:
            raise _unknown(name)
        return found

    async def listing(self, actor: Actor) -> list[TableInfo]:
        """List what the actor may read, its own first."""
        return await self._store.listing(actor.name)

    async def preview(self, actor: Actor, name: str, owner: str | None, *, rows: int) -> bytes:
        """Give the first rows as a JSON array; 0 ≤ rows ≤ MAX_PREVIEW_ROWS.

        Raises:
            UnknownTable: there is none.
        """
        found = await self.find(actor, name, owner)
        return await self._files.preview(found.file, rows=rows)

    async def drop(self, actor: Actor, name: str, *, is_global: bool = False) -> None:
        """Delete a table and its grants.

        Raises:
            UnknownTable, Forbidden.
        """
        file = await self._store.drop(name, self._owner(actor, is_global=is_global))
        if file is None:
            raise _unknown(name)
        await self._files.discard(file)

    async def grant(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Let an account, or everyone (None), read one's own table.

        Raises:
            UnknownTable: the actor has none of this name.
            UnknownUser: there is no such account.
        """
        stored = EVERYONE if grantee is None else account_name(grantee)
        if grantee is not None and await self._accounts.credentials(stored) is None:
            raise UnknownUser(f'There is no user "{stored}".', user=stored)
        if not await self._store.grant(name, actor.name, stored, self._now()):
            raise _unknown(name)

    async def revoke(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Take a grant back.

        Raises:
            UnknownTable, UnknownGrant.
        """
        stored = EVERYONE if grantee is None else account_name(grantee)
        if await self._store.revoke(name, actor.name, stored):
            return
        await self._own(actor, name)
        raise UnknownGrant(f'The table "{name}" is not granted to {stored}.')

    async def grants(self, actor: Actor, name: str) -> list[TableGrant]:
        """List who else may read one's own table.

        Raises:
            UnknownTable: the actor has none of this name.
        """
        await self._own(actor, name)
        return await self._store.grants(name, actor.name)

    async def _own(self, actor: Actor, name: str) -> None:
        if await self._store.find(name, reader=actor.name, owner=actor.name) is None:
            raise _unknown(name)

    def _owner(self, actor: Actor, *, is_global: bool) -> str:
        if is_global and not actor.is_admin:
            raise Forbidden("Only an administrator may keep tables for everyone.")
        return GLOBAL_OWNER if is_global else actor.name


def _unknown(name: str) -> UnknownTable:
    return UnknownTable(f'There is no table "{name}" that you may use.', table=name)
