"""Messages of a zygote, taken apart: one JSON object a line. No I/O.

A script may have reached into the zygote's memory, so whatever comes is read as hostile: what ours
never sends is an error, and nothing that is sent makes us keep more than `MAX_LINE`.
"""

from __future__ import annotations

import json
from typing import Any, Final

MAX_LINE: Final = 1 << 20
"""Bytes of a message; the longest of ours names the packages of an environment."""


class NoMessage(Exception):
    """What came is no message of ours."""


class Lines:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kept = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take a piece; give the messages that it completes.

        Raises:
            NoMessage: a line is no JSON object, or is longer than `MAX_LINE`.
        """
        *lines, rest = data.split(b"\n")
        found = []
        for line in lines:
            found.append(_read(b"".join([*self._parts, line])))
            self._parts.clear()
            self._kept = 0
        if rest:
            self._parts.append(rest)
            self._kept += len(rest)
        if self._kept > MAX_LINE:
            raise NoMessage
        return found


def _read(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise NoMessage
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise NoMessage from exc
    if not isinstance(message, dict):
        raise NoMessage
    return message
