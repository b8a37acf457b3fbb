"""Tokens over REST: obtain, refresh, revoke.

The compatible service takes JSON in and answers in camel case, without a refresh token: the access
token itself is what refreshes. Two ways to send it are in use, and both are accepted. Form-encoded
bodies are accepted, too, because that is what OAuth 2 clients send. Unknown members are ignored.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter, Request

from fanfold_server.http.answers import Json
from fanfold_server.http.schemas import Done, TokenOut
from fanfold_server.http.strict import read_json
from fanfold_server.http.surface import SurfaceOf, bearer_token
from fanfold_server.model.actor import account_name
from fanfold_server.model.errors import BodyTooLarge, InvalidBody, InvalidField, Unauthenticated
from fanfold_server.service.access import Access, Token

MAX_BODY_BYTES: Final = 64 * 1024
"""Nobody who comes here is known yet, so little is read."""
_MAX_MEMBERS: Final = 32
_GRANT_TYPES: Final = '"password", "refresh_token" or "revoke"'
_REVOKED: Final = Done(result="token revoked successfully")

_TEXT: Final = {"type": "string"}
_TOKEN_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"enum": ["password", "refresh_token", "revoke"]},
        "username": {**_TEXT, "description": "With `password`: the account, in any case."},
        "password": {**_TEXT, "format": "password", "description": "With `password`."},
        "refresh_token": {**_TEXT, "description": "With `refresh_token`: the current token."},
        "token": {**_TEXT, "description": "The same; with `revoke`: the token to revoke."},
    },
    "example": {"grant_type": "password", "username": "ALICE", "password": "correct horse"},
}
_REVOKE_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["token"],
    "properties": {
        "token": {**_TEXT, "description": "The token to revoke."},
        "token_type_hint": {**_TEXT, "description": "Ignored."},
    },
    "example": {"token": "Zm9yIGV4YW1wbGU"},
}

router = APIRouter(prefix="/omlusers/api/oauth2/v1", tags=["tokens"])


def _request_body(schema: dict[str, Any]) -> dict[str, Any]:
    media = {"schema": schema}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": media, "application/x-www-form-urlencoded": media},
        },
        "security": [],
    }


@router.post("/token", response_model=TokenOut | Done, openapi_extra=_request_body(_TOKEN_BODY))
async def issue_token(request: Request, surface: SurfaceOf) -> Json:
    """Obtain, refresh or revoke a token.

    A token lives for an hour; it can be refreshed until eight hours after the login. A refresh
    leaves the old token valid until its own end. A revoked token is of no use from then on, nor is
    any other token of the same login; the answer is then `{"result": …}`.
    """
    body = await _read(request)
    grant_type = _text(body, "grant_type")
    match grant_type:
        case "password":
            username = _text(body, "username")
            token = await surface.access.issue(
                username, _text(body, "password"), address=_address(request)
            )
            request.scope["fanfold.user"] = account_name(username)
            return _issued(token)
        case "refresh_token":
            return _issued(await surface.access.refresh(_token(body, request, "refresh_token")))
        case "revoke":
            return await _revoke(surface.access, _token(body, request, "token"))
        case _:
            raise InvalidField(
                f'The member "grant_type" is "{grant_type:.40}"; send {_GRANT_TYPES}.',
                field="grant_type",
            )


@router.post("/revoke", response_model=Done, openapi_extra=_request_body(_REVOKE_BODY))
async def revoke_token(request: Request, surface: SurfaceOf) -> Json:
    """Revoke a token, and every other token of the same login.

    As RFC 7009 has it, the answer is the same for a token that is not valid any more.
    """
    return await _revoke(surface.access, _token(await _read(request), request, "token"))


def _issued(token: Token) -> Json:
    scheme = "Bearer"
    return Json(TokenOut(access_token=token.text, expires_in=token.expires_in_s, token_type=scheme))


async def _revoke(access: Access, token: str) -> Json:
    # A token that is not valid any more is as good as revoked: RFC 7009 §2.2.
    with suppress(Unauthenticated):
        await access.revoke(token)
    return Json(_REVOKED)


async def _read(request: Request) -> Mapping[str, object]:
    """Read a small body, JSON or form-encoded.

    What begins with a brace is JSON whatever the header says: curl says "form" unless it is told.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(
                f"The body of a token request may have {MAX_BODY_BYTES} bytes.",
                limit_bytes=MAX_BODY_BYTES,
            )
    content_type = request.headers.get("content-type", "").lower()
    if "x-www-form-urlencoded" in content_type and not body.lstrip().startswith(b"{"):
        try:
            return dict(
                parse_qsl(
                    body.decode("utf-8"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=_MAX_MEMBERS,
                )
            )
        except ValueError as exc:
            raise InvalidBody("The request body is not a form in UTF-8.") from exc
    try:
        members = read_json(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidBody(
            f"The request body is not a JSON object: {exc.msg} (line {exc.lineno}, "
            f"column {exc.colno})."
        ) from exc
    if not isinstance(members, dict):
        raise InvalidBody
    return members


def _text(body: Mapping[str, object], name: str) -> str:
    """Take a member that has to be a text; its value never shows in an error."""
    value = body.get(name)
    if isinstance(value, str) and value:
        return value
    wrong = "is missing" if value is None else "is empty" if value == "" else "is not a text"
    hint = f": send {_GRANT_TYPES}" if name == "grant_type" else ""
    raise InvalidField(f'The member "{name}" {wrong}{hint}.', field=name)


def _token(body: Mapping[str, object], request: Request, name: str) -> str:
    """Find the token: in the body under either name, else in the Authorization header."""
    for member in (name, "refresh_token", "token"):
        if member in body:
            return _text(body, member)
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise InvalidField(f'The member "{name}" is missing: it holds the token.', field=name)
    return token


def _address(request: Request) -> str:
    """Say where the request comes from; a local socket has no address."""
    return request.client.host if request.client is not None else "local"
