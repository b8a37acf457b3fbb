"""The script repository: scripts, their versions, and who may use them.

A script is stored under an owner and a name. Without an owner, one's own comes before the global
one (owner PYQSYS); with an owner, it is found if one owns it, it was granted, or it is global and
that owner, or PYQSYS, is named; the owner's own comes first again.
Whether a script does not exist or is not granted, the answer is the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER, Actor, account_name
from fanfold_server.model.errors import (
    Forbidden,
    InvalidField,
    Overloaded,
    ScriptExists,
    UnknownGrant,
    UnknownScript,
    UnknownUser,
    UnknownVersion,
)
from fanfold_server.model.script import Grant, Script, ScriptType
from fanfold_server.service import sources
from fanfold_server.service.access import utc_now
from fanfold_server.service.remembering import Remembered
from fanfold_server.service.tokens import require_script
from fanfold_server.store.port import AccountStore, Creator, Draft, Found, ScriptStore

CACHE_LIFETIME_S = 2.0
"""How long a resolved script is taken for current without asking the store again."""

CACHE_SIZE = 2_000
"""How many resolved scripts are remembered; at more, all are forgotten and asked for again."""

MAX_NAME = 128
MAX_DESCRIPTION = 4_000
MAX_VERSION = 2**31 - 1

_PUBLISH_TRIES = 5


class Library:
    """Keeps scripts.

    Args:
        scripts: where they are kept.
        accounts: who there is to grant to.
        max_source_bytes: the longest source text accepted, in bytes of UTF-8.
        now: gives the time of day.
        monotonic: gives seconds for the cache; what callers of `known` pass as `now`.
    """

    def __init__(
        self,
        scripts: ScriptStore,
        accounts: AccountStore,
        *,
        max_source_bytes: int = sources.MAX_BYTES,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scripts = scripts
        self._accounts = accounts
        self._max_source_bytes = max_source_bytes
        self._now = now
        self._known = Remembered[tuple[str, str, str | None], Script](
            size=CACHE_SIZE, monotonic=monotonic
        )

    # ------------------------------------------------------------------------------- reading

    def known(self, caller: str, name: str, owner: str | None, now: float) -> Script | None:
        """Look a script up among those resolved a moment ago. No I/O: for the hot path.

        Args:
            caller: the account that asks, in upper case.
            name: as sent.
            owner: as sent.
            now: `time.monotonic()`.

        Returns:
            The current version; None if the question has to be put to `resolve`.
        """
        return self._known.known((caller, name, owner), now)

    async def resolve(
        self, actor: Actor, name: str, owner: str | None = None, version: int | None = None
    ) -> Script:
        """Find the script that a name means to `actor`.

        Args:
            actor: who asks.
            name: matched exactly.
            owner: in any case; None: one's own, else the global one.
            version: a pinned one; None: the current one, which is remembered for `known`.

        Raises:
            UnknownScript: there is none that `actor` may use.
            UnknownVersion: there is, but not in this version.
        """
        if version is not None:
            return await self.load(actor, name, owner, version)

        async def find() -> tuple[Script, float]:
            return await self.load(actor, name, owner), CACHE_LIFETIME_S

        return await self._known.ask((actor.name, name, owner), find)

    async def load(
        self, actor: Actor, name: str, owner: str | None = None, version: int | None = None
    ) -> Script:
        """Read a script: whoever may run it may read it. As `resolve`, past what is remembered."""
        found = await self._find(actor, name, owner, version)
        if found.script is None:
            raise UnknownVersion(
                f'The script "{name}" of {found.owner} has no version {version}; '
                f"{_range(found.newest)}.",
                name=name,
                newestVersion=found.newest,
            )
        return found.script

    async def versions(self, actor: Actor, name: str, owner: str | None = None) -> list[Script]:
        """List all versions of a script, newest first.

        Raises:
            UnknownScript: there is none that `actor` may use.
        """
        found = await self._find(actor, name, owner, None)
        return await self._scripts.versions(name, found.owner)

    async def listing(
        self, actor: Actor, script_type: ScriptType
    ) -> list[tuple[Script, str | None]]:
        """List current versions by name, then owner.

        Returns:
            Each with None, but for `ScriptType.GRANT`: there, once for each grant, with the
            grantee (PUBLIC for a grant to everyone).
        """
        return await self._scripts.listing(actor.name, script_type)

    # ------------------------------------------------------------------------------- writing

    async def publish(
        self,
        actor: Actor,
        *,
        name: str,
        source: str,
        description: str | None,
        is_global: bool,
        overwrite: bool,
    ) -> tuple[Script, bool]:
        """Store a source text as the newest and current version of a script.

        The same text published again stores nothing, unless it comes with another description.

        Args:
            actor: who publishes.
            name: from 1 to 128 printable characters without "/".
            source: Python text that holds a function.
            description: free text, or None.
            is_global: store it under PYQSYS, for everyone to use. Every account may; only the
                account that did, or an admin, may replace it.
            overwrite: store a new version if there is such a script.

        Returns:
            The current version, and whether the script is new.

        Raises:
            InvalidField: the name or the description is not like that.
            InvalidSource: the text is not Python or holds no function.
            ScriptExists: there is one, and `overwrite` is false.
            Forbidden: there is one, of another account; or the actor's token is for another script.
        """
        _check_name(name)
        _check_description(description)
        source = source.removeprefix(sources.MARK)
        entry = sources.inspect_source(source, name, max_bytes=self._max_source_bytes)
        owner = _owner(actor, is_global=is_global)
        require_script(actor, owner, name)
        draft = Draft(
            name=name,
            owner=owner,
            source=source,
            digest=hashlib.sha256(source.encode()).hexdigest(),
            entry=entry,
            description=description,
            created=self._now(),
        )
        async with self._writing():
            for _ in range(_PUBLISH_TRIES):
                creator = await self._scripts.creator(name, owner)
                if creator is not None:
                    if not overwrite:
                        raise ScriptExists(
                            f'The script "{name}" of {owner} exists; send "overwrite": true to '
                            "store a new version.",
                            name=name,
                        )
                    _check_right(actor, creator, name)
                published = await self._scripts.publish(
                    draft, by=actor.user_id, replaces=None if creator is None else creator.user_id
                )
                if published is not None:
                    return published
        raise Overloaded(f'The script "{name}" is being changed by others; try again later.')

    async def roll_back(self, actor: Actor, name: str, version: int, *, is_global: bool) -> Script:
        """Make a version the current one. No version is changed or lost by it.

        Raises:
            UnknownScript: there is no such script of the actor's own (or global one).
            UnknownVersion: it has no such version.
            Forbidden: it is a global script of another account.
        """
        owner = _owner(actor, is_global=is_global)
        require_script(actor, owner, name)
        async with self._writing():
            creator = await self._creator(actor, name, owner)
            current = None
            if 1 <= version <= MAX_VERSION:
                current = await self._scripts.make_current(
                    name, owner, version, creator=creator.user_id
                )
        if current is None:
            await self.resolve(actor, name, owner, version)  # says which versions there are
            raise UnknownVersion(f'The script "{name}" has no version {version}.', name=name)
        return current

    async def drop(self, actor: Actor, name: str, *, is_global: bool) -> None:
        """Delete a script with all versions and grants; its name is free again.

        Raises:
            UnknownScript: there is no such script of the actor's own (or global one).
            Forbidden: it is a global script of another account.
        """
        owner = _owner(actor, is_global=is_global)
        require_script(actor, owner, name)
        async with self._writing():
            creator = await self._creator(actor, name, owner)
            if not await self._scripts.drop(name, owner, creator=creator.user_id):
                raise _unknown(name, owner, actor)

    # -------------------------------------------------------------------------------- grants

    async def grant(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Let an account, or everyone, use one's script; again is no error.

        Args:
            actor: the owner.
            name: one of the owner's scripts.
            grantee: an account's name in any case; None or PUBLIC for everyone.

        Raises:
            UnknownScript: the actor owns no such script.
            UnknownUser: there is no such account.
            InvalidField: the grantee is the owner.
        """
        stored = _grantee(grantee)
        async with self._writing():
            await self._creator(actor, name, actor.name)
            if stored == actor.name:
                raise InvalidField(f"{actor.name} owns the script already.", field="grantee")
            if stored != EVERYONE and not await self._is_user(stored):
                raise UnknownUser(f'There is no user "{stored}".', user=stored)
            if not await self._scripts.grant(name, actor.name, stored, self._now()):
                raise _unknown(name, actor.name, actor)

    async def revoke(self, actor: Actor, name: str, grantee: str | None) -> None:
        """Take back a grant. One to everyone and one to an account are taken back one by one.

        Raises:
            UnknownScript: the actor owns no such script.
            UnknownGrant: it was not granted to `grantee`.
        """
        stored = _grantee(grantee)
        async with self._writing():
            await self._creator(actor, name, actor.name)
            is_possible = _is_storable(stored)
            if not (is_possible and await self._scripts.revoke(name, actor.name, stored)):
                whom = "everyone" if stored == EVERYONE else f'"{stored}"'
                raise UnknownGrant(f'The script "{name}" is not granted to {whom}.', name=name)

    async def grants(self, actor: Actor, name: str) -> list[Grant]:
        """List the grants of one's script.

        Raises:
            UnknownScript: the actor owns no such script.
        """
        await self._creator(actor, name, actor.name)
        return await self._scripts.grants(name, actor.name)

    # -------------------------------------------------------------------------------- inside

    def forget(self) -> None:
        """Forget what was resolved, also what is being resolved: something has changed."""
        self._known.forget()

    async def _find(self, actor: Actor, name: str, owner: str | None, version: int | None) -> Found:
        stored_owner = None if owner is None else account_name(owner)
        found = None
        if _is_storable(name) and (stored_owner is None or _is_storable(stored_owner)):
            number = version if version is None or 1 <= version <= MAX_VERSION else 0
            found = await self._scripts.find(
                name, reader=actor.name, owner=stored_owner, version=number
            )
        if found is None:
            raise _unknown(name, stored_owner, actor)
        return found

    async def _creator(self, actor: Actor, name: str, owner: str) -> Creator:
        """Give who published the script that `actor` wants to change.

        Raises:
            UnknownScript: nobody did.
            Forbidden: another account did, and the actor is no admin.
        """
        creator = await self._scripts.creator(name, owner) if _is_storable(name) else None
        if creator is None:
            raise _unknown(name, owner, actor)
        _check_right(actor, creator, name)
        return creator

    async def _is_user(self, name: str) -> bool:
        return _is_storable(name) and await self._accounts.credentials(name) is not None

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Forget what was resolved, whatever comes of the write; also what is being resolved."""
        try:
            yield
        finally:
            self._known.forget()


def _owner(actor: Actor, *, is_global: bool) -> str:
    return GLOBAL_OWNER if is_global else actor.name


def _grantee(grantee: str | None) -> str:
    return EVERYONE if grantee is None else account_name(grantee)


def _range(newest: int) -> str:
    return "its only version is 1" if newest == 1 else f"its versions are 1 to {newest}"


def _check_right(actor: Actor, creator: Creator, name: str) -> None:
    if actor.user_id != creator.user_id and not actor.is_admin:
        raise Forbidden(
            f'The global script "{name}" is {creator.name}\'s: only {creator.name} or an admin '
            "may change it.",
            name=name,
        )


def _unknown(name: str, owner: str | None, actor: Actor) -> UnknownScript:
    if owner is None:
        message = (
            f'There is no script "{name}" of yours and no global one. A script that another '
            "account granted to you is found with its owner's name after its own."
        )
        return UnknownScript(message, name=name)
    if owner == actor.name:
        message = f'You have no script "{name}".'
    elif owner == GLOBAL_OWNER:
        message = f'There is no global script "{name}".'
    else:
        message = (
            f'There is no script "{name}" of {owner} that you may use: ask {owner} to grant it to '
            "you, if there is one."
        )
    return UnknownScript(message, name=name, owner=owner)


def _is_storable(text: str) -> bool:
    """Tell whether a database can be asked for the text: no NUL, no lone surrogate."""
    return text.isprintable()


def _check_name(name: str) -> None:
    if (
        not 1 <= len(name) <= MAX_NAME
        or not name.isprintable()
        or "/" in name
        or name != name.strip()
        or name in {".", ".."}
    ):
        raise InvalidField(
            f'A script cannot have the name "{name[:MAX_NAME]}": a name has from 1 to {MAX_NAME} '
            'printable characters, no "/", and no blank at its ends.',
            field="name",
        )


def _check_description(description: str | None) -> None:
    if description is None:
        return
    if len(description) > MAX_DESCRIPTION:
        raise InvalidField(
            f'"description" has {len(description)} characters; at most {MAX_DESCRIPTION} are kept.',
            field="description",
        )
    if not all(char.isprintable() or char in "\t\r\n" for char in description):
        raise InvalidField(
            '"description" holds a character that cannot be kept.', field="description"
        )
