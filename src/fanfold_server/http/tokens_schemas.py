"""What the routes of access tokens take and answer."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from fanfold_server.http.answers import AnswerBody
from fanfold_server.model.actor import AccessToken, Scope
from fanfold_server.service.tokens import DEFAULT_DAYS


class NewAccessToken(BaseModel):
    """What an access token is to be good for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "nightly", "scopes": ["run"]}}
    )

    name: Annotated[str, Field(description='1 to 64 letters, digits, ".", "_" and "-".')]
    scopes: Annotated[list[Scope], Field(description="What it may be used for.", min_length=1)]
    days: Annotated[int, Field(description="How long it lives.", ge=1, le=36_600)] = DEFAULT_DAYS
    script: Annotated[
        str | None, Field(description="The only script that it is good for.", max_length=300)
    ] = None
    owner: Annotated[
        str | None,
        Field(
            description="Whose script; without it your own, else the global one.", max_length=300
        ),
    ] = None


class AccessTokenOut(AnswerBody):
    """An access token."""

    name: str
    scopes: list[Scope]
    script: str | None
    owner: str | None
    created: datetime
    expires: datetime

    @classmethod
    def of(cls, token: AccessToken) -> Self:
        """Write a token."""
        owner, script = token.script or (None, None)
        return cls(
            name=token.name,
            scopes=sorted(token.scopes),
            script=script,
            owner=owner,
            created=token.created,
            expires=token.expires,
        )


class NewAccessTokenOut(AccessTokenOut):
    """An access token that has just been made, with its text."""

    token: Annotated[str, Field(description="What goes into the header Authorization.")]

    @classmethod
    def made(cls, token: AccessToken, text: str) -> Self:
        """Write a new token."""
        return cls(**AccessTokenOut.of(token).model_dump(), token=text)


class AccessTokenList(AnswerBody):
    """All access tokens of an account."""

    tokens: list[AccessTokenOut]
