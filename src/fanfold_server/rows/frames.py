"""What the server and its data process say to one another: JSON objects, each with its length.

    4 bytes, little-endian: length of the JSON text · the text

Requests: `{"id": n, "verb": name, …}`, and `{"verb": "cancel", "id": n}` for one that is under way.
Answers: `{"id": n, "ok": {…}}` or `{"id": n, "error": class, "message": text, "details": {…}}`,
in any order. Rows are never in a frame: they are in files.
"""

from __future__ import annotations

import json
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
