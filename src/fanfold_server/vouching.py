"""Open what knows the tokens of others: a part of `compose`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fanfold_server.model.identity import Meaning, Trust, read_roles
from fanfold_server.service.identity import IdentityTokens
from fanfold_server.service.tokens import Verifier
from fanfold_server.settings import Settings, SettingsError
from fanfold_server.store.sql import Store


@asynccontextmanager
async def open_verifiers(settings: Settings, store: Store) -> AsyncIterator[Sequence[Verifier]]:
    """Open what knows the tokens of an identity provider, if one is trusted.

    Raises:
        SettingsError: one is, and the package that reads them is not there.
    """
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        yield ()
        return
    try:
        from fanfold_server.identity.openid import open_provider
    except ModuleNotFoundError as exc:
        raise SettingsError(
            f'oidc_issuer: {exc.name} is not installed: it is in "fanfold[oidc]"'
        ) from exc
    trust = Trust(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        algorithms=settings.oidc_algorithms,
        leeway_s=settings.oidc_leeway_s,
    )
    meaning = Meaning(
        user=settings.oidc_user_claim,
        roles_in=settings.oidc_role_claim,
        roles=read_roles(settings.oidc_roles),
    )
    async with open_provider(trust) as provider:
        yield (IdentityTokens(provider, store.accounts, meaning),)
