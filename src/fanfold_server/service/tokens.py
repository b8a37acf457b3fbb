"""Access tokens: what an account makes for its programs, that may do less than it and for a time.

Their text begins with `PREFIX`, so that it is known for what it is, here and to whoever searches
for secrets that got out. The store keeps a SHA-256 of it alone.

Called by `access.py`, which asks every `Verifier` about a token that is none of a login.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from fanfold_server.model.actor import AccessToken, Actor, Role, Scope, account_name
from fanfold_server.model.errors import (
    Forbidden,
    InvalidField,
    QuotaExceeded,
    TokenExists,
    TokenExpired,
    UnknownToken,
)
from fanfold_server.store.port import AccessTokenStore

PREFIX: Final = "fft_"
MAX_TOKENS: Final = 100
"""Of one account."""
DEFAULT_DAYS: Final = 30

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whom a token stands for, and for how long yet, in s, > 0."""

    actor: Actor
    life_s: float


class Verifier(Protocol):
    """Knows tokens of one kind."""

    async def verify(self, token: bytes) -> Verified | None:
        """Say whom a token stands for; None: it is of another kind, or not valid.

        Raises:
            Unauthenticated: it is of this kind, and not valid; the reason helps its holder.
        """
        ...

    async def revoke(self, token: bytes) -> bool:
        """End a token; False: it is of another kind, or not valid."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AccessTokens:
    """Makes, lists, checks and revokes access tokens.

    Args:
        store: where they are kept.
        max_days: the longest life, in days, ≥ 1.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: AccessTokenStore,
        *,
        max_days: int = 366,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._store = store
        self._max_days = max_days
        self._now = now

    async def create(
        self,
        user: str,
        name: str,
        scopes: Collection[Scope],
        *,
        days: int = DEFAULT_DAYS,
        script: tuple[str, str] | None = None,
    ) -> tuple[AccessToken, str]:
        """Make a token for an account.

        Args:
            user: the account's name.
            name: what the account calls the token; letters, digits, ".", "_" and "-".
            scopes: what it may be used for, at least one.
            days: its life, 1 to `max_days`.
            script: owner and name of the only script that it may be used for; None: any.

        Returns:
            The token, and its text, which nobody can tell ever again.

        Raises:
            InvalidField: something is not like that.
            TokenExists: the account has a token of that name.
            QuotaExceeded: the account is unknown or disabled, or has `MAX_TOKENS` tokens.
        """
        if not _NAME.fullmatch(name):
            raise InvalidField(
                f'A token cannot have the name {name[:64]!a}: it has 1 to 64 letters, digits, ".", '
                '"_" and "-", and begins with a letter or digit.',
                field="name",
            )
        if not scopes:
            words = ", ".join(Scope)
            raise InvalidField(f'"scopes" is empty; there are {words}.', field="scopes")
        if not 1 <= days <= self._max_days:
            raise InvalidField(
                f'"days" is {days}; a token lives for 1 to {self._max_days} days.', field="days"
            )
        now = self._now()
        token = AccessToken(
            name=name,
            scopes=frozenset(scopes),
            script=script,
            created=now,
            expires=now + timedelta(days=days),
        )
        text = PREFIX + secrets.token_urlsafe(32)
        owner = account_name(user)
        added = await self._store.add(owner, token, _digest(text.encode()), limit=MAX_TOKENS)
        if added is None:
            raise QuotaExceeded(
                f'The account "{owner}" has {MAX_TOKENS} tokens, which is the most, or may have '
                "none."
            )
        if not added:
            raise TokenExists(f'There is a token "{name}" of {owner} already.', name=name)
        return token, text

    async def listing(self, user: str) -> list[AccessToken]:
        """List an account's tokens by name, expired ones, too."""
        return await self._store.tokens(account_name(user))

    async def remove(self, user: str, name: str) -> None:
        """Revoke a token of an account.

        Raises:
            UnknownToken: it has none of that name.
        """
        if not (_NAME.fullmatch(name) and await self._store.remove(account_name(user), name)):
            raise UnknownToken(f"There is no token {name!a} of yours.")

    # -------------------------------------------------------------------------- Verifier

    async def verify(self, token: bytes) -> Verified | None:
        if not token.startswith(PREFIX.encode()):
            return None
        found = await self._store.find(_digest(token))
        if found is None:
            return None
        life_s = (found.expires - self._now()).total_seconds()
        if life_s <= 0:
            raise TokenExpired
        return Verified(actor=found.actor, life_s=life_s)

    async def revoke(self, token: bytes) -> bool:
        is_ours = token.startswith(PREFIX.encode())
        return is_ours and await self._store.remove_presented(_digest(token))


def require(actor: Actor, scope: Scope) -> None:
    """Check that the actor may do what a scope stands for.

    Raises:
        Forbidden: the token has not this scope; or it is for administrators, and the
            account is none.
    """
    is_refused = (scope is Scope.ADMIN and not actor.is_admin) or (
        scope is Scope.METRICS and actor.role is not Role.ADMIN
    )
    if is_refused:
        raise Forbidden("This is for administrators alone.")
    if actor.scopes is not None and scope not in actor.scopes:
        has = ", ".join(sorted(actor.scopes))
        raise Forbidden(
            f'The token "{actor.token}" has the scope {has}; this needs {scope}.', scope=scope.value
        )


def require_login(actor: Actor) -> None:
    """Check that a person has logged in, or a program with all of the account's rights.

    Raises:
        Forbidden: the actor came with an access token.
    """
    if actor.scopes is not None:
        raise Forbidden(f'The token "{actor.token}" may not do this: log in with the password.')


def require_script(actor: Actor, owner: str, name: str) -> None:
    """Check that the actor's token is not bound to another script.

    Raises:
        Forbidden: it is.
    """
    if actor.script is not None and actor.script != (owner, name):
        raise beyond(actor)


def beyond(actor: Actor) -> Forbidden:
    """Refuse what has nothing to do with the script that the actor's token is bound to."""
    assert actor.script is not None
    owner, name = actor.script
    return Forbidden(f'The token "{actor.token}" is for the script "{name}" of {owner} alone.')


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
