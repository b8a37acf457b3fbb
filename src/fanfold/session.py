"""How requests reach a server under a token that is kept fresh: no I/O, only `Steps`.

A token lives for an hour and can be refreshed for eight; with a password one logs in again after
that. What may be sent again is, when the connection breaks or the server says that it is busy.
"""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fanfold import errors
from fanfold.faults import BY_CODE, FanfoldError, NotLoggedIn, NotUnderstood, Refused, Unreachable
from fanfold.messages import Open, Pause, Read, Request, Response, Send, Steps, json_body
from fanfold.options import Options

TOKEN_PATH = "/omlusers/api/oauth2/v1/token"  # noqa: S105  # a path
REFRESH_BEFORE_S = 60.0
"""A token that has no more left is refreshed first."""

UNKNOWN_LIFETIME_S = 600.0
"""A token that was given without its age is refreshed when it has been used for so long."""

TRIES = 6
FIRST_PAUSE_S = 0.2
MOST_PAUSE_S = 5.0

_ERRORS = 400
_BUSY = (errors.Overloaded, errors.ShuttingDown, errors.DataUnavailable)


@dataclass(frozen=True)
class Login:
    """How to show who one is.

    Attributes:
        expires: when the token ends, as `time.time()` counts; None if that is not known.
    """

    username: str | None = None
    password: str | None = None
    token: str | None = None
    expires: float | None = None


class Session:
    """Knows the server's address and how to show who one is.

    Args:
        login: an account with its password, or a token.
        renewed: is told a new token and when it ends.
        clock: gives the time, as `time.time`.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        *,
        renewed: Callable[[str, float], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._login = login
        self._renewed = renewed
        self._clock = clock
        self._token = login.token
        unknown = clock() + UNKNOWN_LIFETIME_S
        self._expires = login.expires if login.expires is not None else unknown

    @property
    def token(self) -> str | None:
        """The token of now."""
        return self._token

    def send(self, request: Request) -> Steps[Response]:
        """Send a request; give an answer that is no error.

        Raises:
            FanfoldError: the server's, of the class that belongs to its code; or ours.
        """
        return (yield from self._sent(request, Send))

    def open(self, request: Request) -> Steps[Response]:
        """Send a request whose answer is read piece by piece."""
        return (yield from self._sent(request, Open))

    def lines(self, request: Request) -> Steps[list[bytes]]:
        """Read an answer to its end, as lines."""
        answer = yield from self.open(request)
        body = b""
        while piece := (yield Read(answer.stream)):
            body += piece
        return body.splitlines()

    def freshen(self) -> Steps[None]:
        """See to it that there is a token, and that it has not all but ended."""
        if self._token is None:
            yield from self.log_in()
        elif self._clock() > self._expires - REFRESH_BEFORE_S:
            yield from self._renew()

    def log_in(self) -> Steps[None]:
        """Get a token, whether or not there is one."""
        login = self._login
        if login.username is None or login.password is None:
            raise NotLoggedIn(
                "No token and no account is known: give Client a token, or username and password, "
                'or run "fanfold login".'
            )
        members = {
            "grant_type": "password",
            "username": login.username,
            "password": login.password,
        }
        yield from self._take(members)

    def log_out(self) -> Steps[None]:
        """Revoke the token, and every other one of the same login."""
        if self._token is None:
            return
        body, headers = json_body({"grant_type": "revoke", "token": self._token})
        request = Request("POST", TOKEN_PATH, body=body, headers=headers, is_open=True)
        yield from self._sent(request, Send)
        self._token = None

    def _sent(self, request: Request, command: Callable[[Request], Send | Open]) -> Steps[Response]:
        renewed = False
        pauses = _pauses()
        while True:
            if not request.is_open:
                yield from self.freshen()
            try:
                answer: Response = yield command(self._signed(request))
            except Unreachable:
                pause = next(pauses, None) if request.may_repeat else None
                if pause is None:
                    raise
                yield Pause(pause)
                continue
            if answer.status < _ERRORS:
                return answer
            fault = error_of(answer)
            if isinstance(fault, errors.Unauthenticated) and not (renewed or request.is_open):
                renewed = True
                if (yield from self._renew()):
                    continue
            if isinstance(fault, _BUSY) and request.may_repeat:
                pause = next(pauses, None)
                if pause is not None:
                    yield Pause(pause)
                    continue
            raise fault

    def _signed(self, request: Request) -> Request:
        if request.is_open or self._token is None:
            return request
        headers = {**request.headers, "authorization": f"Bearer {self._token}"}
        return Request(**{**vars(request), "headers": headers})

    def _renew(self) -> Steps[bool]:
        """Refresh the token, or log in again; say whether there is a new one."""
        if self._token is not None:
            try:
                yield from self._take({"grant_type": "refresh_token", "token": self._token})
            except errors.CallerError:
                # It may live on without; when it does not, the server will say so.
                self._expires = self._clock() + UNKNOWN_LIFETIME_S
            else:
                return True
        if self._login.password is None:
            return False
        yield from self.log_in()
        return True

    def _take(self, members: dict[str, str]) -> Steps[None]:
        body, headers = json_body(members)
        request = Request("POST", TOKEN_PATH, body=body, headers=headers, is_open=True)
        answer = yield from self._sent(request, Send)
        said = answer.json()
        try:
            self._token = str(said["accessToken"])
            self._expires = self._clock() + float(said["expiresIn"])
        except (KeyError, TypeError, ValueError) as exc:
            raise NotUnderstood(
                "The server's answer to the login holds no token: is this the address of a "
                "fanfold server?"
            ) from exc
        if self._renewed is not None:
            self._renewed(self._token, self._expires)


def error_of(answer: Response) -> FanfoldError:
    """Make the error that an answer tells, of the class that belongs to its code."""
    try:
        said = json.loads(answer.body)
        code, message = int(said.pop("errorCode")), str(said.pop("errorMessage"))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = answer.body[:200].decode("utf-8", "replace")
        return NotUnderstood(
            f"The server answered {answer.status}, and not as a fanfold server does: {text!r}",
            status=answer.status,
        )
    return error_for(code, message, status=answer.status, details=said)


def error_for(
    code: int, message: str, *, status: int = 0, details: dict[str, object] | None = None
) -> FanfoldError:
    """Make the error of a code; an unknown one is `Refused`."""
    kind = BY_CODE.get(code, Refused)
    name = (details or {}).get("argument")
    if kind is errors.InvalidArguments and name in Options.__dataclass_fields__:
        message += f". How a run is run is said before it: client.using({name}=…)"
    return kind(message, status=status, details={**(details or {}), "code": code})


def _pauses() -> Iterator[float]:
    """Yield how long to wait before each further try: longer and longer, and never in step."""
    pause = FIRST_PAUSE_S
    salt = random.Random(zlib.adler32(str(time.monotonic_ns()).encode()))
    for _ in range(TRIES - 1):
        yield pause * (0.5 + salt.random())
        pause = min(pause * 2, MOST_PAUSE_S)
