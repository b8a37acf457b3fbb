"""The only place that knows HTTP statuses: each error of the model as status, headers and body.

Every error on every path has one shape, `{"errorMessage": text, "errorCode": number}`, and beside
these whatever the error knows more (its `details`), with names in camel case.
"""

from __future__ import annotations

import json
from math import ceil
from typing import Final

import orjson

from fanfold_server.http.headers import Headers
from fanfold_server.model import errors

STATUSES: Final[dict[type[errors.FanfoldError], int]] = {
    errors.CallerError: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.UnknownScript: 404,
    errors.UnknownVersion: 404,
    errors.UnknownUser: 404,
    errors.UnknownGrant: 404,
    errors.UnknownPath: 404,
    errors.UnknownJob: 404,
    errors.UnknownImage: 404,
    errors.ResultNotReady: 404,
    errors.UnknownTable: 404,
    errors.UnknownSource: 404,
    errors.EnvironmentNotFound: 404,
    errors.UnknownBuild: 404,
    errors.NotPreloaded: 404,
    errors.UnknownSecret: 404,
    errors.UnknownToken: 404,
    errors.UnknownDatastore: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.RequestTooSlow: 408,
    errors.ScriptExists: 409,
    errors.TokenExists: 409,
    errors.UserExists: 409,
    errors.DatastoreExists: 409,
    errors.NotGrantable: 409,
    errors.TableExists: 409,
    errors.JobRunning: 409,
    errors.EnvironmentExists: 409,
    errors.EnvironmentInUse: 409,
    errors.PackageGone: 409,
    errors.KeyReused: 409,
    errors.BodyTooLarge: 413,
    errors.EncodedBody: 415,
    errors.TooManyAttempts: 429,
    errors.HeadTooLarge: 431,
    errors.QuotaExceeded: 429,
    errors.NoAccounts: 503,
    errors.Overloaded: 503,
    errors.ShuttingDown: 503,
    errors.EngineUnavailable: 503,
    errors.DataUnavailable: 503,
    errors.TooLate: 503,
    errors.SourceUnavailable: 503,
    errors.IdentityUnavailable: 503,
    errors.RunTimedOut: 504,
    errors.DiskFull: 507,
    errors.FanfoldError: 500,
    errors.UnknownCoding: 501,
}
"""A class that is not here has the status of its nearest ancestor that is."""

RETRY_AFTER_S: Final = 1
"""What a client is told to wait when the server is too busy and has no better idea."""


def status_of(exc: errors.FanfoldError) -> int:
    """Say which HTTP status this error has."""
    for ancestor in type(exc).__mro__:
        status = STATUSES.get(ancestor)
        if status is not None:
            return status
    raise AssertionError(type(exc))


def error_body(exc: errors.FanfoldError) -> bytes:
    """Write the error as compact JSON."""
    members: dict[str, object] = {"errorMessage": exc.message, "errorCode": exc.code}
    for name, value in exc.details.items():
        members[_camel_case(name)] = value
    try:
        return orjson.dumps(members, default=str)
    except TypeError:
        # A lone surrogate, which orjson refuses, has a form as an escape sequence.
        text = json.dumps(members, default=str, separators=(",", ":"))
        return text.encode("ascii")


def error_headers(exc: errors.FanfoldError) -> Headers:
    """List the headers that belong to this error alone; content type and length are not here.

    `MethodNotAllowed` says `Allow` from its detail `allow` (a list of methods); what may be tried
    again says `Retry-After` from `retry_after_s` (seconds, rounded up).
    """
    match exc:
        case errors.Unauthenticated():
            return [(b"www-authenticate", b"Bearer")]
        case errors.MethodNotAllowed():
            allow = exc.details.get("allow", ())
            names = allow if isinstance(allow, list | tuple) else ()
            return [(b"allow", ", ".join(str(name) for name in names).encode("latin-1"))]
        case (
            errors.TooManyAttempts()
            | errors.QuotaExceeded()
            | errors.Overloaded()
            | errors.IdentityUnavailable()
            | errors.ShuttingDown()
        ):
            wait = exc.details.get("retry_after_s", RETRY_AFTER_S)
            seconds = ceil(wait) if isinstance(wait, int | float) else RETRY_AFTER_S
            return [(b"retry-after", b"%d" % max(seconds, 1))]
        case errors.UnknownCoding():
            return [(b"connection", b"close")]
        case _:
            return []


def _camel_case(name: str) -> str:
    """Turn `retry_after_s` into `retryAfterS`; a name in camel case stays as it is."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
