"""Random bytes of the system's, drawn ahead.

Whoever asks the system lets go of the interpreter's lock. The event loop would get it back at once,
were there not the thread that writes: it takes the lock, and the loop waits for it, at every
request and every job.
"""

from __future__ import annotations

import os
import uuid
from typing import Final

_DRAWN_BYTES: Final = 4096


class Stock:
    """Gives each byte once; for one thread."""

    __slots__ = ("_at", "_drawn")

    def __init__(self) -> None:
        self._drawn = b""
        self._at = 0

    def take(self, size_bytes: int) -> bytes:
        """Return so many bytes that nobody can foresee; few."""
        start = self._at
        if start + size_bytes > len(self._drawn):
            start, self._drawn = 0, os.urandom(_DRAWN_BYTES)
        self._at = start + size_bytes
        return self._drawn[start : self._at]

    def bits(self, count: int) -> int:
        """Return a number below 2**count; count ≤ 64."""
        return int.from_bytes(self.take(8)) >> (64 - count)

    def uuid(self) -> str:
        """Return an id that nobody else has."""
        return str(uuid.UUID(bytes=self.take(16), version=4))
