"""Our own API of access tokens: what an account gives its programs in place of its password."""

from typing import Annotated

from fastapi import APIRouter, Path

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.surface import Caller, CallerRoute, SurfaceOf
from fanfold_server.http.tokens_schemas import (
    AccessTokenList,
    AccessTokenOut,
    NewAccessToken,
    NewAccessTokenOut,
)

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"], route_class=CallerRoute)

Name = Annotated[str, Path(description="What you have called the token.")]


@router.get("", response_model=AccessTokenList)
async def list_access_tokens(surface: SurfaceOf, caller: Caller) -> Json:
    """List your access tokens; their texts are told by nobody."""
    listing = await surface.access.list_tokens(caller)
    return Json(AccessTokenList(tokens=[AccessTokenOut.of(token) for token in listing]))


@router.post("", response_model=NewAccessTokenOut, status_code=201)
async def create_access_token(surface: SurfaceOf, caller: Caller, body: NewAccessToken) -> Json:
    """Make an access token for a program; this answer alone has its text.

    It may do what its scopes say, and never more than you: `run` functions and see to their jobs;
    `publish` scripts and tables, and grant them; `admin`, what administrators alone may do. Reading
    is part of each. With `script` it is good for that script and its jobs alone.
    """
    script = None
    if body.script is not None:
        found = await surface.library.resolve(caller, body.script, body.owner)
        script = (found.owner, found.name)
    token, text = await surface.access.create_token(
        caller, body.name, body.scopes, days=body.days, script=script
    )
    return Json(NewAccessTokenOut.made(token, text), status_code=201)


@router.delete("/{token}", status_code=204, response_class=Nothing)
async def revoke_access_token(surface: SurfaceOf, caller: Caller, token: Name) -> Nothing:
    """Revoke an access token, from now on."""
    await surface.access.remove_token(caller, token)
    return Nothing()
