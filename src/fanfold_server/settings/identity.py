"""Settings of who may come in, and for how long."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from fanfold_server.settings.types import AlgorithmNames, ProviderAddress, RoleNames


class IdentitySettings(BaseModel):
    """Logins and tokens."""

    token_lifetime_s: int = Field(3600, ge=1, description="How long a token lives, in s.")
    session_lifetime_s: int = Field(
        28800, ge=1, description="How long after a login its token may be renewed, in s."
    )
    max_token_days: int = Field(
        366, ge=1, le=36_600, description="Longest life of an access token, in days."
    )
    login_concurrency: int = Field(
        2, ge=1, le=64, description="Passwords checked at once; each check takes 64 MiB."
    )
    oidc_issuer: ProviderAddress | None = Field(
        None,
        description="Address of an OpenID provider whose tokens are taken as bearer tokens, "
        "exactly as they name it; https, or http on this machine.",
    )
    oidc_audience: str | None = Field(
        None, min_length=1, description="How the provider's tokens name this server (`aud`)."
    )
    oidc_user_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="Claim with the name of the account; one that users cannot choose for "
        "themselves. A path through objects has dots.",
    )
    oidc_role_claim: str | None = Field(
        None,
        min_length=1,
        description="Claim with the user's roles or groups, such as realm_access.roles; "
        "otherwise the account's own role holds.",
    )
    oidc_roles: RoleNames = Field(
        (),
        description="What values of that claim mean here, such as analysts=developer; who has "
        'none of them is not let in. Several are separated by ",".',
    )
    oidc_algorithms: AlgorithmNames = Field(
        ("RS256", "ES256"),
        min_length=1,
        description='Signatures of tokens that are admitted; several are separated by ",".',
    )
    oidc_leeway_s: int = Field(
        30, ge=0, le=300, description="How far the provider's clock may be off, in s."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.session_lifetime_s < self.token_lifetime_s:
            raise ValueError("session_lifetime_s must not be less than token_lifetime_s")
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience are needed together")
        if (self.oidc_role_claim is None) != (not self.oidc_roles):
            raise ValueError("oidc_role_claim and oidc_roles are needed together")
        return self
