"""Secrets: texts that an account's functions need, and that nobody can read through the API.

A secret belongs to an account. The account grants it to scripts of its own; a run of such a script
may ask for it, whoever runs it, and nothing else can. It is given to the asking process alone,
which serves no further run; the engine keeps it out of logs and errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
import orjson

from fanfold_server.engine.port import Ask, Reply, Work
from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import InvalidField, QuotaExceeded, UnknownGrant, UnknownSecret
from fanfold_server.model.secret import SecretInfo
from fanfold_server.service.access import utc_now
from fanfold_server.service.asking import read_members
from fanfold_server.service.library import Library
from fanfold_server.store.port import Sealer, SecretStore

MAX_SECRETS: Final = 200
"""Of one account."""
MAX_BYTES: Final = 16 * 1024
MIN_LENGTH: Final = 6
"""A shorter text could not be kept out of logs: it would be found everywhere."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Secrets:
    """Keeps secrets, and gives them to runs.

    Args:
        store: where they are kept.
        sealer: seals them.
        library: knows the scripts that they are granted to.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: SecretStore,
        sealer: Sealer,
        library: Library,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._library = library
        self._now = now

    async def put(self, actor: Actor, name: str, value: str) -> bool:
        """Store a secret, in place of one of that name; gives whether the name is new.

        Args:
            actor: whose it is.
            name: a letter or "_", then letters, digits and "_", at most 64.
            value: `MIN_LENGTH` characters at least, `MAX_BYTES` of UTF-8 at most.

        Raises:
            InvalidField: name or value are not like that; the value is not told.
            QuotaExceeded: the account has `MAX_SECRETS`.
        """
        if not _NAME.fullmatch(name):
            raise InvalidField(
                f"A secret cannot have the name {name[:64]!a}: it has at most 64 letters, digits "
                'and "_", and does not begin with a digit.',
                field="name",
            )
        if len(value) < MIN_LENGTH or len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise InvalidField(
                f'The member "value" has from {MIN_LENGTH} characters to {MAX_BYTES} bytes.',
                field="value",
            )
        sealed = self._sealer.seal(value, _context(actor.name, name))
        is_new = await self._store.put(actor.name, name, sealed, self._now(), limit=MAX_SECRETS)
        if is_new is None:
            raise QuotaExceeded(f"You have {MAX_SECRETS} secrets, which is the most.")
        return is_new

    async def listing(self, actor: Actor) -> list[SecretInfo]:
        """List one's secrets by name, without their values."""
        return await self._store.secrets(actor.name)

    async def drop(self, actor: Actor, name: str) -> None:
        """Delete a secret. Raises UnknownSecret."""
        if not (_NAME.fullmatch(name) and await self._store.drop(actor.name, name)):
            raise _unknown(name)

    async def grant(self, actor: Actor, name: str, script: str) -> None:
        """Let a script of one's own have a secret, in all its versions.

        Raises:
            UnknownSecret: there is no such secret of the actor's.
            UnknownScript: there is no such script of the actor's.
        """
        if not _NAME.fullmatch(name):
            raise _unknown(name)
        found = await self._library.load(actor, script, actor.name)
        if not await self._store.grant(actor.name, name, found.name):
            raise _unknown(name)

    async def revoke(self, actor: Actor, name: str, script: str) -> None:
        """Take a grant back. Raises UnknownGrant."""
        is_possible = bool(_NAME.fullmatch(name)) and script.isprintable()
        if not (is_possible and await self._store.revoke(actor.name, name, script)):
            raise UnknownGrant(f"The secret {name!a} is not granted to the script {script!a}.")

    async def give(self, work: Work, ask: Ask) -> Reply:
        """Answer a call that asks for a secret; a `Verb` of asking.

        Raises:
            UnknownSecret: the script's owner has none of this name, or has not granted it to the
                script; which of both is not told.
            SecretUnreadable: the key is not the one that it was sealed with.
        """
        name = read_members(ask, _Asked).name
        owner, script = work.script.owner, work.script.name
        sealed = None
        if _NAME.fullmatch(name):
            sealed = await self._store.sealed(owner, name, script)
        if sealed is None:
            raise UnknownSecret(
                f'The script "{script}" of {owner} has no secret {name[:64]!a}: store it with PUT '
                "/api/v1/secrets/{name}, and grant it with PUT /api/v1/secrets/{name}/grants/"
                "{script}."
            )
        value = self._sealer.open(sealed, _context(owner, name))
        return Reply(json=orjson.dumps(value), secret=value)


def _context(owner: str, name: str) -> str:
    return f"secret/{owner}/{name}"


def _unknown(name: str) -> UnknownSecret:
    return UnknownSecret(f"You have no secret {name[:64]!a}.")
