"""A client that has nothing more to say, and one that is gone: which of them was it?

Both send the same, the end of their stream. A client may close its sending side after a request and
read on (RFC 9112, 9.6); and a run whose client is gone has to be cancelled at once. Nothing that
comes from the client tells them apart, but what goes to it does: a client that is gone answers
whatever we send with a reset. What may be sent before an answer is an interim response, which every
client of HTTP/1.1 has to pass over (RFC 9110, 15.2). So it is asked by "100 Continue", in short
intervals for as long as its answer has not begun: the reset that comes back makes the next one
fail, and that ends the connection as any loss does.

Taken for gone at once is: a request that is cut; a second one behind the first; an answer that has
begun, as it may be a stream in which nothing happens for hours; a connection with TLS, whose
transport does not know half an end. A client of HTTP/1.0, to which nothing may be sent before its
answer, is waited for a moment and then taken for gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import override

from fanfold_server.http.heads import HTTP
from fanfold_server.http.wire import OneWriteProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

FIRST_S: Final = 0.05
LAST_S: Final = 0.8
"""Time between two questions: the first, doubled each time, and the longest."""

OLD_S: Final = 0.5
"""How long a client of HTTP/1.0 is waited for."""

_ARE_YOU_THERE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class LeavingProtocol(OneWriteProtocol):
    """Answers a client that has closed its sending side, unless it is gone."""

    @override
    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own is so
        """Say whether the connection stays open for an answer."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        if (
            cycle is None
            or cycle.response_started
            or cycle.more_body
            or cycle.scope is not self.scope  # another request has begun
            or self.pipeline
            or self.scheme == "https"
        ):
            return False
        cycle.keep_alive = False
        self.loop.call_later(
            FIRST_S if self.scope["http_version"] == HTTP else OLD_S, self._ask, FIRST_S
        )
        return True

    def _ask(self, waited_s: float) -> None:
        """Have the client's machine say whether there is anybody."""
        if self.transport.is_closing() or self.cycle.response_started:
            return
        if self.scope["http_version"] != HTTP:
            self.transport.close()
            return
        self.transport.write(_ARE_YOU_THERE)
        next_s = min(2 * waited_s, LAST_S)
        self.loop.call_later(next_s, self._ask, next_s)
