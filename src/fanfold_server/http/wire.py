"""Answers of one piece, in one write.

An ASGI server takes an answer as a head and a body and writes each by itself, which costs a small
answer a second system call and wakes its client twice; and it checks every header of every answer
with regular expressions, though ours are made by us. `OneWriteProtocol` lets the front door hand
over finished bytes instead; under any other server the usual two messages are sent.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from fanfold_server.http.declining import DecliningProtocol
from fanfold_server.http.headers import Headers

CYCLE: Final = "fanfold.cycle"
"""Where the scope holds what `write_whole` needs."""

_STATUS_LINES: Final[dict[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class OneWriteProtocol(DecliningProtocol):
    """uvicorn's protocol, which also tells the application how to answer in one write."""

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        if cycle is not None and cycle.scope is self.scope:  # else: to be read once more
            self.scope[CYCLE] = cycle  # type: ignore[typeddict-unknown-key]  # ours


def can_write_whole(cycle: RequestResponseCycle | None) -> bool:
    """Tell whether an answer can be handed over as finished bytes now."""
    return (
        cycle is not None
        and not cycle.disconnected
        and not cycle.response_started
        and not cycle.flow.write_paused
    )


def write_whole(
    cycle: RequestResponseCycle, status: int, headers: Headers, block: bytes, body: bytes
) -> None:
    """Answer a request that `can_write_whole`.

    Args:
        cycle: of the request.
        status: HTTP status.
        headers: of this answer, trusted: no line breaks; content length and date are added.
        block: header lines as they are sent, each with its line break.
        body: the whole body.
    """
    lines = [_STATUS_LINES[status]]
    for name, value in (*cycle.default_headers, *headers):
        lines += (name, b": ", value, b"\r\n")
    lines.append(block)
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    lines.append(body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
