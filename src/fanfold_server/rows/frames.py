"""What the server and its data process say to one another: JSON objects, each with its length.

    4 bytes, little-endian: length of the JSON text · the text

Requests: `{"id": n, "verb": name, …}`, and `{"verb": "cancel", "id": n}` for one that is under way.
Answers: `{"id": n, "ok": {…}}` or `{"id": n, "error": class, "message": text, "details": {…}}`,
in any order. Rows are never in a frame: they are in files.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Final

PREFIX: Final = struct.Struct("<I")
MAX_BYTES: Final = 64 * 1024 * 1024


def pack(frame: dict[str, Any]) -> bytes:
    """Write a frame. A lone surrogate has a form here, as an escape."""
    text = json.dumps(frame, separators=(",", ":")).encode("ascii")
    return PREFIX.pack(len(text)) + text


def unpack(text: bytes) -> dict[str, Any]:
    """Read the text of a frame."""
    frame: dict[str, Any] = json.loads(text)
    return frame


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Read a frame; None when the other side has hung up."""
    prefix = _exactly(channel, PREFIX.size)
    if prefix is None:
        return None
    text = _exactly(channel, PREFIX.unpack(prefix)[0])
    return None if text is None else unpack(text)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
