from __future__ import annotations

import orjson
import pytest

from fanfold_server.http.errors import error_body, error_headers, status_of
from fanfold_server.model import errors
from fanfold_server.model.errors import FanfoldError


def _all_errors(family: type[FanfoldError] = FanfoldError) -> list[type[FanfoldError]]:
    return [family, *(kind for child in family.__subclasses__() for kind in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_the_one_shape(kind: type[FanfoldError]) -> None:
    body = orjson.loads(error_body(kind()))
    assert body == {"errorMessage": kind().message, "errorCode": kind.code}
    is_ours = issubclass(kind, errors.ServerError) or kind is FanfoldError
    assert status_of(kind()) in (range(500, 600) if is_ours else [*range(400, 500), 501, 503])


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidField, 400),
        (errors.JobsUnavailable, 400),
        (errors.TokenExpired, 401),
        (errors.WrongCredentials, 401),
        (errors.Forbidden, 403),
        (errors.UnknownVersion, 404),
        (errors.UnknownEnvironment, 400),
        (errors.ScriptExists, 409),
        (errors.NoAccounts, 503),
        (errors.Overloaded, 503),
        (errors.RunTimedOut, 504),
        (errors.Unexpected, 500),
    ],
)
def test_an_error_has_the_status_of_its_kind(kind: type[FanfoldError], status: int) -> None:
    assert status_of(kind()) == status


def test_what_an_error_knows_more_stands_beside_in_camel_case() -> None:
    exc = errors.TooManyAttempts("Wait.", retry_after_s=2.5, errorType="X")
    assert error_body(exc) == (
        b'{"errorMessage":"Wait.","errorCode":2104,"retryAfterS":2.5,"errorType":"X"}'
    )
    assert error_headers(exc) == [(b"retry-after", b"3")]


def test_an_error_can_be_written_whatever_it_names() -> None:
    """A caller's text may hold a lone surrogate, which has no UTF-8; the answer is JSON still."""
    body = error_body(errors.UnknownScript("No \ud800.", name="\ud800", where=object))
    assert orjson.loads(body.replace(b"\\ud800", b"?"))["errorMessage"] == "No ?."


def test_headers_that_an_error_needs() -> None:
    assert error_headers(errors.TokenExpired()) == [(b"www-authenticate", b"Bearer")]
    allowed = errors.MethodNotAllowed(allow=["GET", "PUT"])
    assert error_headers(allowed) == [(b"allow", b"GET, PUT")]
    assert error_headers(errors.MethodNotAllowed()) == [(b"allow", b"")]
    assert error_headers(errors.ShuttingDown()) == [(b"retry-after", b"1")]
    assert error_headers(errors.Overloaded(retry_after_s="soon")) == [(b"retry-after", b"1")]
    assert error_headers(errors.UnknownScript()) == []
