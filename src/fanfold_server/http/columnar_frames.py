"""What the server says to the process that writes tables: frames of a kind, a number and bytes.

VALUES: NDJSON, the lines of calls in a row, the number being the index of the first. FAILED and
KEYS come before those that they belong to: JSON, the messages of failed calls by index, and the
keys of groups in order. END: the values are all there.
"""

from __future__ import annotations

import struct
from typing import Final

HEAD: Final = struct.Struct("<cQI")
"""Kind, number, length of what follows."""

VALUES: Final = b"V"
FAILED: Final = b"F"
KEYS: Final = b"K"
END: Final = b"E"

ARROW: Final = "arrow"
PARQUET: Final = "parquet"

KEYED: Final = "keyed"
FAILING: Final = "failing"
"""What a table has, in the arguments: a column of the groups' keys, one of error messages."""


def pack(kind: bytes, number: int = 0, content: bytes = b"") -> bytes:
    """Write a frame."""
    return HEAD.pack(kind, number, len(content)) + content
