"""Tokens of an identity provider: for which account here one stands, and with which role.

Accounts are made here, by the operator; a provider vouches for who somebody is, and, if the
operator says so, for the role.
"""

from __future__ import annotations

from dataclasses import replace

from fanfold_server.identity.port import IdentityProvider
from fanfold_server.model.actor import account_name
from fanfold_server.model.errors import Unauthenticated
from fanfold_server.model.identity import Meaning
from fanfold_server.service.tokens import Verified
from fanfold_server.store.port import AccountStore

MAX_NAME = 128


class IdentityTokens:
    """The `Verifier` of a provider's tokens.

    Args:
        provider: tells its tokens from forged ones.
        accounts: where accounts are kept.
        meaning: what its claims mean here.
    """

    def __init__(
        self, provider: IdentityProvider, accounts: AccountStore, meaning: Meaning
    ) -> None:
        self._provider = provider
        self._accounts = accounts
        self._meaning = meaning

    async def verify(self, token: bytes) -> Verified | None:
        vouched = await self._provider.vouch(token)
        if vouched is None:
            return None
        name = self._meaning.user_of(vouched.claims)
        login = None
        if name is not None and len(name) <= MAX_NAME and name.isascii() and name.isprintable():
            login = await self._accounts.credentials(account_name(name))
        if login is None or login.disabled:
            # One answer: who is known here is nothing that the provider's other users may ask.
            raise Unauthenticated(
                "The identity provider's token is valid, but its user "
                f'(claim "{self._meaning.user}") may not come in here: ask the operator for an '
                "account of that name."
            )
        role = self._meaning.role_of(vouched.claims, login.actor.role)
        if role is None:
            raise Unauthenticated(
                "The identity provider's token is valid, but none of the roles in its claim "
                f'"{self._meaning.roles_in}" may come in here.'
            )
        return Verified(actor=replace(login.actor, role=role), life_s=vouched.life_s)

    async def revoke(self, token: bytes) -> bool:
        """Say that it is none of ours: a provider's token ends with the provider."""
        _ = token
        return False
