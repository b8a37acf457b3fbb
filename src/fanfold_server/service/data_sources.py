"""Databases of others: registering them, who may use which, and what it takes to read one.

An administrator registers a database and grants it, to an account or to everyone; an administrator
uses none without a grant, either. Whether a database does not exist or is not granted, the answer
is the same. Passwords go in and do not come out again, but to the process that reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fanfold_server.model.actor import EVERYONE, Actor, account_name
from fanfold_server.model.data_source import (
    EMBEDDED,
    DataSource,
    SourceAccess,
    SourceGrant,
    SourceKind,
)
from fanfold_server.model.errors import (
    Forbidden,
    InvalidField,
    UnknownGrant,
    UnknownSource,
    UnknownUser,
)
from fanfold_server.rows.port import Probe
from fanfold_server.service.access import utc_now
from fanfold_server.store.port import AccountStore, SourceStore

MAX_CONNECTIONS: Final = 64
DEFAULT_LIFETIME_S: Final = 5.0
"""How long an account's default is taken for good without asking the store again."""

_REMEMBERED: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_$#]{0,127}", re.ASCII)
_ENV: Final = re.compile(r"FANFOLD_SECRET_[A-Z0-9_]{1,100}")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SECRET: Final = re.compile(r"pass|pwd|secret|token|credential", re.IGNORECASE)
_SCHEMES: Final = {
    SourceKind.POSTGRESQL: ("postgresql", "postgres"),
    SourceKind.SQLITE: ("sqlite",),
    SourceKind.ORACLE: ("oracle",),
}
_OWN_KIND: Final = frozenset({"sqlite", "duckdb"})
"""Files, which the fallback would open with all that they can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is said of a database when it is registered.

    Attributes:
        url: without a password.
        password: to be stored, encrypted; None for none, or for one from elsewhere.
        password_from: "env:FANFOLD_SECRET_…" or "file:…", a file of the directory of secrets.
    """

    name: str
    kind: SourceKind
    url: str
    password: str | None = None
    password_from: str | None = None
    max_connections: int = 4


class DataSources:
    """Keeps registered databases; the `Directory` of those who read rows.

    Args:
        store: what there is, and who may use it.
        accounts: who there is to grant to.
        closed: a directory whose files are never read as databases: that of our own state.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: SourceStore,
        accounts: AccountStore,
        *,
        closed: Path,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._closed = closed
        self._now = now
        self._defaults: dict[str, tuple[str | None, float]] = {}

    # ------------------------------------------------------------------------ administrators

    async def register(self, actor: Actor, said: Registration) -> tuple[DataSource, bool]:
        """Register a database, in place of one of that name, whose grants stay.

        Returns:
            The database, and whether its name is new.

        Raises:
            Forbidden: the actor is not an administrator.
            InvalidField: names the member.
        """
        _check_admin(actor)
        name = _checked_name(said.name)
        _check_url(said)
        if said.kind is SourceKind.SQLITE:
            self._check_file(said.url)
        if not 1 <= said.max_connections <= MAX_CONNECTIONS:
            raise InvalidField(
                f'The member "maxConnections" is {said.max_connections}; it should be between 1 '
                f"and {MAX_CONNECTIONS}.",
                field="maxConnections",
            )
        source = DataSource(
            name=name,
            kind=said.kind,
            url=said.url,
            password=_where(said),
            max_connections=said.max_connections,
            created=self._now(),
        )
        return source, await self._store.put(source, said.password)

    async def drop(self, actor: Actor, name: str) -> None:
        """Forget a database. Raises Forbidden, UnknownSource."""
        _check_admin(actor)
        if not await self._store.drop(name.upper()):
            raise _unknown(name)
        self._defaults.clear()

    async def probe(self, actor: Actor, name: str, probe: Probe) -> None:
        """Try whether a database lets us in. Raises Forbidden, UnknownSource, SourceUnavailable."""
        _check_admin(actor)
        await probe.probe(await self._access(name, reader=None))

    async def grant(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Let an account, or everyone (None), use a database.

        Raises:
            Forbidden, UnknownSource.
            UnknownUser: there is no such account.
        """
        _check_admin(actor)
        stored = EVERYONE if grantee is None else account_name(grantee)
        if grantee is not None and await self._accounts.credentials(stored) is None:
            raise UnknownUser(f'There is no user "{stored}".', user=stored)
        if not await self._store.grant(name.upper(), stored, self._now()):
            raise _unknown(name)

    async def revoke(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Take a grant back. Raises Forbidden, UnknownSource, UnknownGrant."""
        _check_admin(actor)
        stored = EVERYONE if grantee is None else account_name(grantee)
        if await self._store.revoke(name.upper(), stored):
            return
        if await self._store.find(name.upper(), reader=None) is None:
            raise _unknown(name)
        raise UnknownGrant(f'The database "{name.upper()}" is not granted to {stored}.')

    async def grants(self, actor: Actor, name: str) -> list[SourceGrant]:
        """List who may use a database. Raises Forbidden, UnknownSource."""
        _check_admin(actor)
        if await self._store.find(name.upper(), reader=None) is None:
            raise _unknown(name)
        return await self._store.grants(name.upper())

    # ------------------------------------------------------------------------------ everyone

    async def listing(self, actor: Actor) -> list[DataSource]:
        """List what the actor may use; all of them for an administrator."""
        return await self._store.listing(reader=None if actor.is_admin else actor.name)

    async def find(self, actor: Actor, name: str) -> DataSource:
        """Find a database that the actor may use; any for an administrator.

        Raises:
            UnknownSource: there is none.
        """
        reader = None if actor.is_admin else actor.name
        found = await self._store.find(name.upper(), reader=reader)
        if found is None:
            raise _unknown(name)
        return found

    async def set_default(self, actor: Actor, name: str | None, user: str | None = None) -> None:
        """Set which database the queries of an account are for that name none; None: our own.

        Args:
            user: whose; None for the actor's own. Another's is for administrators.

        Raises:
            Forbidden, UnknownUser.
            UnknownSource: the account may not use it.
        """
        account = actor.name if user is None else account_name(user)
        if account != actor.name:
            _check_admin(actor)
            if await self._accounts.credentials(account) is None:
                raise UnknownUser(f'There is no user "{account}".', user=account)
        if name is not None and await self._store.find(name.upper(), reader=account) is None:
            raise _unknown(name)
        await self._store.set_default(account, None if name is None else name.upper())
        self._defaults.pop(account, None)

    # ------------------------------------------------------------------- for those who read

    async def default(self, reader: str) -> str | None:
        """Name the default of an account; what was just asked for is remembered."""
        known = self._defaults.get(reader)
        now = time.monotonic()
        if known is not None and now < known[1]:
            return known[0]
        name = await self._store.default(reader)
        if len(self._defaults) >= _REMEMBERED:
            self._defaults.clear()
        self._defaults[reader] = (name, now + DEFAULT_LIFETIME_S)
        return name

    async def access(self, reader: str, name: str) -> SourceAccess:
        """Give what it takes to read a database. Raises UnknownSource, SourceUnavailable."""
        return await self._access(name, reader=reader)

    async def _access(self, name: str, *, reader: str | None) -> SourceAccess:
        source = await self._store.find(name.upper(), reader=reader)
        if source is None:
            raise _unknown(name)
        if source.kind is SourceKind.SQLITE:
            self._check_file(source.url)
        return SourceAccess(source=source, password=await self._store.password(source))

    def _check_file(self, url: str) -> None:
        """Refuse files of our own state, now and whenever one is read."""
        path = Path(url.removeprefix("sqlite:///")).resolve()
        if path.is_relative_to(self._closed.resolve()):
            raise InvalidField(
                'The member "url" names a file in the server\'s data directory, which is no '
                "database for users.",
                field="url",
            )


def _check_admin(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("Only an administrator may register databases and grant them.")


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None or name.upper() == EMBEDDED:
        raise InvalidField(
            f"The name {name!a} cannot be a database's: a letter, then letters, digits, _, $ and "
            f"#, at most 128, and not {EMBEDDED}.",
            field="name",
        )
    return name.upper()


def _where(said: Registration) -> str | None:
    """Say where the password comes from. Raises InvalidField."""
    if said.password_from is None:
        return None if said.password is None else "stored"
    if said.password is not None:
        raise InvalidField(
            'The members "password" and "passwordFrom" exclude one another.', field="passwordFrom"
        )
    where, _, rest = said.password_from.partition(":")
    pattern = {"env": _ENV, "file": _FILE}.get(where)
    if pattern is None or pattern.fullmatch(rest) is None:
        raise InvalidField(
            'The member "passwordFrom" should be "env:FANFOLD_SECRET_…", a variable of the '
            'server\'s, or "file:…", the name of a file in the directory of secrets.',
            field="passwordFrom",
        )
    return said.password_from


def _check_url(said: Registration) -> None:
    """Refuse addresses that cannot be right, or that hold a password."""
    try:
        parts = urlsplit(said.url)
        has_password = parts.password is not None
        _ = parts.port
        query = [name for name, _ in parse_qsl(parts.query)]
    except ValueError as exc:
        raise InvalidField('The member "url" is not an address.', field="url") from exc
    if has_password or any(_SECRET.search(name) for name in query):
        raise InvalidField(
            'The member "url" holds a password; give it as "password", or as "passwordFrom".',
            field="url",
        )
    schemes = _SCHEMES.get(said.kind)
    if schemes is None:
        if not parts.scheme or parts.scheme.partition("+")[0] in _OWN_KIND:
            raise InvalidField(
                'The member "url" should be an address of SQLAlchemy\'s, such as '
                '"mysql+pymysql://reader@host/name"; for a file of SQLite\'s there is the kind '
                '"sqlite".',
                field="url",
            )
    elif parts.scheme not in schemes or not _is_whole(said):
        example = {
            SourceKind.POSTGRESQL: "postgresql://reader@host/name",
            SourceKind.SQLITE: "sqlite:////absolute/path.db",
            SourceKind.ORACLE: "oracle://reader@host:1521/service",
        }[said.kind]
        raise InvalidField(f'The member "url" should be such as "{example}".', field="url")


def _is_whole(said: Registration) -> bool:
    return said.kind is not SourceKind.SQLITE or (
        said.url.startswith("sqlite:////") and "?" not in said.url and "#" not in said.url
    )


def _unknown(name: str) -> UnknownSource:
    return UnknownSource(
        f'There is no database "{name.upper()}" that you may use.', source=name.upper()
    )
