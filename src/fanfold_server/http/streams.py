"""Answers that are made while they are sent: no more of them than a piece is ever in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from starlette.responses import Response, StreamingResponse

from fanfold_server.http.apply import CHUNKED_FROM_BYTES, PIECE_BYTES

_JSON: Final = "application/json"


async def sized_or_chunked(
    pieces: AsyncIterator[bytes],
    *,
    chunked: bool = False,
    media_type: str = _JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with its length if it is short, as a synchronous call does; else in chunks.

    Args:
        pieces: the body.
        chunked: in chunks, however short it is.
        media_type: without a charset.
        headers: further ones.
    """
    begun: list[bytes] = []
    if not chunked:
        size = 0
        async for piece in pieces:
            begun.append(piece)
            size += len(piece)
            if size > CHUNKED_FROM_BYTES:
                break
        else:
            return _typed(Response(b"".join(begun), headers=headers), media_type)
    return streamed(_gathered(_after(begun, pieces)), media_type=media_type, headers=headers)


def streamed(
    pieces: AsyncIterator[bytes], *, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer in chunks, each piece as soon as it is there."""
    return _typed(StreamingResponse(pieces, headers=headers), media_type)


def _typed(response: Response, media_type: str) -> Response:
    """Set the type as it is: the framework would add a charset to some."""
    response.headers["content-type"] = media_type
    return response


async def _after(begun: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in begun:
        yield piece
    async for piece in rest:
        yield piece


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Put small pieces together and cut large ones."""
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            body = b"".join(waiting)
            waiting, size = [], 0
            for start in range(0, len(body), PIECE_BYTES):
                yield body[start : start + PIECE_BYTES]
    yield b"".join(waiting)
