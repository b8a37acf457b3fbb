"""What a connection may do to the server before there is a request: limits on heads, time, number.

Called by the command that serves, as uvicorn's protocol. Behind it everything is a whole head, and
a body that comes at a bearable speed. No timer is set for a request: each connection notes when it
began to wait for its client, and one loop looks at all of them, so that the hot path pays for two
attributes.

    waiting for a head ──headers──▶ waiting for a body ──its end──▶ the server's turn ──┐
          ▲                                                                             │
          └────────────────────── the next request on the connection ◀──────────────────┘
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from fanfold_server.http.errors import error_body, error_headers, status_of
from fanfold_server.http.headers import JSON_TYPE, SECURITY_LINES
from fanfold_server.http.leaving import LeavingProtocol
from fanfold_server.model.errors import (
    FanfoldError,
    HeadTooLarge,
    InvalidRequest,
    Overloaded,
    RequestTooSlow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

LOOK_S: Final = 1.0
"""How often connections are looked at: they get as much more time at most."""

LINGER_S: Final = 5.0
"""How long a body is read on that nobody wants any more, so that its client sees the answer."""

BODY_RATE: Final = 4096
"""A body that comes at so many bytes a second never is too slow."""

MAX_HEADERS: Final = 128
MAX_PIPELINED: Final = 64
"""Requests that wait on one connection for the answer to an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What is borne.

    Attributes:
        connections: at once, ≥ 1.
        head_bytes: of the request line and all headers.
        head_s: from a connection's or a request's first byte to the end of its headers, seconds.
        body_s: how far a body may be behind one that comes at `BODY_RATE`, seconds.
    """

    connections: int
    head_bytes: int
    head_s: float
    body_s: float


class Guard:
    """Knows all connections, the oldest first.

    Args:
        patience: what is borne.
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._connections: dict[GuardedProtocol, None] = {}

    def enter(self, connection: GuardedProtocol) -> bool:
        """Take a connection in; False: there is no room, and nobody who would make some."""
        if len(self._connections) >= self.patience.connections:
            idle = next((one for one in self._connections if one.is_idle), None)
            if idle is None:
                return False
            idle.drop()
        self._connections[connection] = None
        return True

    def leave(self, connection: GuardedProtocol) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)

    async def watch(self) -> None:
        """End, again and again, what takes too long; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            now = loop.time()
            for connection in tuple(self._connections):
                connection.look(now)


class _Waits(Enum):
    HEAD = 1
    BODY = 2
    NOTHING = 3


class GuardedProtocol(LeavingProtocol):
    """A connection that is held to the guard's limits, and refuses in the one error shape."""

    def __init__(self, *args: Any, guard: Guard, **named: Any) -> None:
        super().__init__(*args, **named)
        self._guard = guard
        self._limit_bytes = guard.patience.head_bytes
        self._waits = _Waits.HEAD
        self._since = self.loop.time()
        self._head_bytes = 0
        self._body_bytes = 0
        self._answered = 0.0
        self._refusal: FanfoldError | None = None

    # ------------------------------------------------------------------ what the guard asks

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way here but a client's silence."""
        return self._waits is not _Waits.BODY and not self._is_answering

    def drop(self) -> None:
        """End a connection on which nothing is under way."""
        self._guard.leave(self)
        self.transport.abort()

    def look(self, now: float) -> None:
        """End the connection if its client takes too long.

        Args:
            now: the loop's time, s.
        """
        patience = self._guard.patience
        if self._waits is _Waits.HEAD:
            late = now - self._since > patience.head_s
            if late and self._head_bytes == 0 and not self._is_answering:
                self.transport.close()  # it never asked: there is nobody to tell
            elif late and not self._is_answering:
                limit = f"{patience.head_s:g} s"
                self._refuse(RequestTooSlow(f"The headers did not come within {limit}."))
        elif self._waits is _Waits.BODY:
            if self.cycle.response_complete:
                if now - self._answered > LINGER_S:
                    self.transport.abort()
            elif self.flow.read_paused or self.cycle.waiting_for_100_continue:
                self._since, self._body_bytes = now, 0  # it waits for us
            elif now - self._since > patience.body_s + self._body_bytes / BODY_RATE:
                behind = f"{patience.body_s:g} s behind {BODY_RATE} bytes/s"
                self._refuse(RequestTooSlow(f"The body came too slowly: it is {behind}."))

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is not None and not cycle.response_complete

    # ------------------------------------------------------------------ what the server tells

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._guard.enter(self):
            self._refuse(Overloaded("This server has as many connections as it takes."))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.leave(self)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._waits is not _Waits.BODY:
            if self._head_bytes == 0:
                self._since = self.loop.time()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._waits is _Waits.HEAD and self._head_bytes > self._limit_bytes:
            self._refuse(self._too_large())

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._waits = _Waits.HEAD

    @override
    def on_headers_complete(self) -> None:
        is_suspect = self._head_bytes > self._limit_bytes or len(self.headers) > MAX_HEADERS
        if is_suspect and self._is_too_large(self.headers):
            self._refusal = self._too_large()
            raise self._refusal
        if len(self.pipeline) >= MAX_PIPELINED:
            raise InvalidRequest
        super().on_headers_complete()
        self._waits = _Waits.BODY  # last: as long as it raises, there is no request to be answered
        self._since = self.loop.time()
        self._head_bytes = self._body_bytes = 0

    @override
    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._waits = _Waits.NOTHING
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        self._answered = self.loop.time()
        super().on_response_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take, after what is being answered."""
        self._refuse(self._refusal or InvalidRequest())

    # ------------------------------------------------------------------ inside

    def _is_too_large(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        size_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
        return size_bytes > self._limit_bytes or len(self.headers) > MAX_HEADERS

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"The request line and the headers may have {self._limit_bytes} bytes, in at most "
            f"{MAX_HEADERS} headers.",
            limit_bytes=self._limit_bytes,
        )

    def _refuse(self, error: FanfoldError) -> None:
        """Say why, where nothing was said yet, and end the connection.

        Where an earlier request waits for its answer, that is the connection's last: the refusal
        would be taken for it.
        """
        cycle = self.cycle
        if self._waits is not _Waits.BODY and self._is_answering:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self._waits is _Waits.BODY:
            is_begun = cycle.response_started
            cycle.disconnected = True
            cycle.message_event.set()
            if is_begun:
                self.transport.abort()
                return
        status = HTTPStatus(status_of(error))
        body = error_body(error)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
        headers = [*self.server_state.default_headers, JSON_TYPE, *error_headers(error)]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (SECURITY_LINES, b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body))
        self.transport.write(b"".join([*lines, body]))
        self.transport.close()
