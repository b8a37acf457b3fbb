"""What must be remembered of access tokens; `port.py` says what every method guarantees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanfold_server.model.actor import AccessToken, Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """An access token that was presented. `actor` has its scopes; its account is not disabled."""

    actor: Actor
    expires: datetime


class AccessTokenStore(Protocol):
    """Tokens that accounts made for programs. Only hashes of their texts are ever given.

    They end with a change of the account's password, and when the account is disabled.
    """

    async def add(self, user: str, token: AccessToken, digest: bytes, *, limit: int) -> bool | None:
        """Remember a token of an account.

        Returns:
            False, and nothing is stored: the account has one of that name; None: there is no such
            account, it is disabled, or has `limit` tokens.
        """
        ...

    async def find(self, digest: bytes) -> FoundToken | None:
        """Give a token, also when it has expired; None if there is none, or it is revoked."""
        ...

    async def tokens(self, user: str) -> list[AccessToken]:
        """List an account's tokens by name."""
        ...

    async def remove(self, user: str, name: str) -> bool:
        """Revoke a token; False: the account has none of that name."""
        ...

    async def remove_presented(self, digest: bytes) -> bool:
        """Revoke the token with this hash; False: there is none."""
        ...
