"""What a call writes to descriptors 1 and 2, from Python, from C or from a child process.

Both descriptors are one file in memory that the server made and can read as well; the worker reads
and empties it after each call. Appending makes emptying safe while others still write.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Any

_MARK = "\n… [%d bytes more were written and not kept]\n"


class Output:
    """The captured output of the call in hand.

    Args:
        file: descriptor of the file, open for reading and appending.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._out: io.TextIOWrapper | None = None
        self._err: io.TextIOWrapper | None = None
        self.restore()

    def restore(self) -> None:
        """Put descriptors 1 and 2 and sys.stdout and sys.stderr (back) in place."""
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)
        if not _is_as_made(self._out):
            self._out = _writer(1)
        if not _is_as_made(self._err):
            self._err = _writer(2)
        sys.stdout = sys.__stdout__ = self._out  # type: ignore[misc]  # Final for others
        sys.stderr = sys.__stderr__ = self._err  # type: ignore[misc]

    def take(self, max_bytes: int) -> str:
        """Return what was written since the last time, as text, and forget it.

        At most `max_bytes` are kept, from the beginning; a mark says how many were not.
        """
        size = os.lseek(
            self._file, 0, os.SEEK_END
        )  # half as long as fstat; appending needs no place
        if not size:
            return ""
        text = os.pread(self._file, min(size, max_bytes), 0).decode("utf-8", "replace")
        os.ftruncate(self._file, 0)
        if size > max_bytes:
            text += _MARK % (size - max_bytes)
        return text


class _Writer(io.TextIOWrapper):
    """A text stream that remembers that it has been given another encoding or another buffering."""

    def reconfigure(self, **changes: Any) -> None:
        self._changes = changes
        super().reconfigure(**changes)


def forget_warnings() -> None:
    """Have warnings told that were told already: each is told once for a place in the code.

    Those of libraries would else be told to the first run of a worker alone.
    """
    with warnings.catch_warnings():  # says to all that filters may have changed
        pass


def _is_as_made(stream: io.TextIOWrapper | None) -> bool:
    """Say whether a stream is open, has not been detached, and was given nothing of its own."""
    try:
        if stream is None or stream.closed or stream.buffer.closed:
            return False
        return not vars(stream) and len(vars(stream.buffer)) == 1  # which is its name
    except (TypeError, ValueError):  # detached
        return False


def _writer(descriptor: int) -> io.TextIOWrapper:
    """Return a text stream that keeps nothing back: not even a crash loses what was printed."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    # as `python -u` does it; a BufferedWriter keeps one byte however small it is made
    return _Writer(raw, "utf-8", "backslashreplace", "\n", write_through=True)
