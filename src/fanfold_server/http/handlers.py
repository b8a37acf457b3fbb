"""What the framework refuses by itself, said in our errors and in our one shape."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fanfold_server.http.answers import Json
from fanfold_server.http.errors import error_body, error_headers, status_of
from fanfold_server.http.queries import missing, no_such, shortened
from fanfold_server.http.strict import BEYOND, NO_NUL
from fanfold_server.model.errors import (
    BodyTooLarge,
    CallerError,
    FanfoldError,
    InvalidBody,
    InvalidField,
    MethodNotAllowed,
    Unexpected,
    UnknownPath,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.routing import BaseRoute

_PLACES: Final = {"body": "member", "query": "query parameter", "path": "path member"}
_NOT_FOUND: Final = 404
_NOT_ALLOWED: Final = 405
_TOO_LARGE: Final = 413


def add_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make the framework answer every error in the one shape.

    Args:
        app: the application.
        routes: all of its routes, to say what a path does answer to.
    """

    async def on_error(_: Request, exc: Exception) -> Response:
        return error_answer(exc if isinstance(exc, FanfoldError) else Unexpected())

    async def on_validation(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return error_answer(explain_validation(exc, _members(request)))

    async def on_http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return error_answer(explain_http(request, exc, routes))

    async def on_disconnect(_: Request, __: Exception) -> Response:
        return error_answer(InvalidBody("The connection ended before the body did."))

    app.add_exception_handler(FanfoldError, on_error)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_error)


def error_answer(exc: FanfoldError) -> Json:
    """Write an error as the framework's answer."""
    answer = Json(error_body(exc), status_code=status_of(exc))
    answer.raw_headers.extend(error_headers(exc))
    return answer


def explain_http(request: Request, exc: HTTPException, routes: Iterable[BaseRoute]) -> FanfoldError:
    """Turn what the framework raises for paths, methods and unreadable bodies into our errors."""
    cause = exc.__cause__
    if isinstance(cause, FanfoldError):
        return cause
    if isinstance(cause, UnicodeDecodeError):
        return InvalidBody(f"The request body is not UTF-8 (byte {cause.start}).")
    if isinstance(cause, RecursionError):
        return InvalidBody("The request body is nested too deeply.")
    path = request.scope["path"]
    match exc.status_code:
        case status if status == _NOT_FOUND:
            return UnknownPath(f"There is nothing at {path}; /docs lists what there is.")
        case status if status == _NOT_ALLOWED:
            allow = allowed_methods(path, routes)
            return MethodNotAllowed(
                f"{path} answers to {', '.join(allow)}, not to {request.method}.", allow=allow
            )
        case status if status == _TOO_LARGE:
            return BodyTooLarge()
        case _:
            return CallerError(str(exc.detail))


def allowed_methods(path: str, routes: Iterable[BaseRoute]) -> list[str]:
    """List the methods that a path answers to, over all routes; HEAD goes where GET goes."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, APIRoute) and route.path_regex.match(path):
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def explain_validation(exc: RequestValidationError, members: Sequence[str]) -> FanfoldError:
    """Name the member, what came, and what would be right.

    Args:
        exc: what the framework found. One complaint is told: that about an unknown member before
            that about the missing one which it was meant to be.
        members: the names that the body's object may have.
    """
    first = min(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")
    kind: str = first["type"]
    place, *path = first["loc"]
    if kind == "json_invalid":
        reason = first["ctx"]["error"]
        return InvalidBody(f"The request body is not JSON: {reason} (character {path[0]}).")
    if place == "body" and not path:
        return InvalidBody(
            "The request body is missing: send a JSON object."
            if kind == "missing"
            else "The request body must be a JSON object, sent as Content-Type: application/json."
        )
    # A query parameter that may be given several times has no members.
    steps = path[:1] if place == "query" else path
    field = ".".join(shortened(str(step)) for step in steps)
    what = f'The {_PLACES[str(place)]} "{field}" {complaint(first, members)}'
    return InvalidField(what, field=field)


def complaint(error: dict[str, Any], members: Sequence[str]) -> str:
    """Say what is wrong with a member, as the rest of a sentence."""
    match error["type"]:
        case "missing":
            return missing(str(error["loc"][-1]), error["input"])
        case "extra_forbidden":
            return no_such(str(error["loc"][-1]), members)
        case "string_pattern_mismatch" if error["ctx"]["pattern"] == NO_NUL:
            return f"is {_shown(error['input'])}; it should have no NUL character."
        case _:
            message = str(error["msg"])  # "Input should be …", "String should have …"
            wanted = message.partition(" should ")[2] or f"be right: {message}"
            return f"is {_shown(error['input'])}; it should {wanted}."


def _members(request: Request) -> list[str]:
    """List the members that the body of this route's requests, or else their query, may have."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return []
    given = [route.body_field] if route.body_field is not None else route.dependant.query_params
    names: list[str] = []
    for parameter in given:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [field.alias or name for name, field in model.model_fields.items()]
    return names


def _shown(value: object) -> str:
    """Write a value of the caller's as short JSON."""
    if isinstance(value, float) and isinf(value):
        return f"a number {BEYOND}"
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = ascii(value)
    return shortened(text)
