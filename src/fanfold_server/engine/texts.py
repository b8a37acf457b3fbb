"""JSON text that a worker sends: checked, never decoded."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec

from fanfold_server.model.outcome import Failed, Outcome

_MANY = 64
"""From so many values on it pays to count commas instead of cutting the values apart."""

_EMPTY = re.compile(rb"\[[ \t\n\r]*\]")

_values = msgspec.json.Decoder(list[msgspec.Raw]).decode
_value = msgspec.json.Decoder(msgspec.Raw).decode


class Forged(Exception):
    """A worker sent what ours never sends; its process is not to be trusted any more."""


class Parts:
    """What has come of the value of the call in hand; true while there is something.

    Args:
        max_bytes: more is forged.
    """

    __slots__ = ("_max_bytes", "_size_bytes", "_texts")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._texts: list[memoryview] = []

    def __bool__(self) -> bool:
        return bool(self._texts)

    def take(self, text: bytes) -> None:
        """Take elements of the array that the value is; nothing makes what there is void.

        Raises:
            Forged, or a DecodeError: they are no JSON array with an element.
        """
        if not text:
            self._forget()
            return
        self._size_bytes += len(text)
        if self._size_bytes > self._max_bytes:
            raise Forged
        check_text(text)
        _check_elements(text)
        self._texts.append(memoryview(text)[1 if self._texts else 0 : -1])

    def join(self, rest: bytes, count: int = 1) -> bytes:
        """Return the whole value, given the rest of it as a JSON array, which is checked already.

        Args:
            count: of values that have come with the rest.

        Raises:
            Forged: that is no array with an element, or more than it has come.
        """
        if count != 1:
            raise Forged
        _check_elements(rest)
        whole = b",".join([*self._texts, memoryview(rest)[1:]])
        self._forget()
        return whole

    def complete(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the call with the whole value; a failed one has none."""
        if isinstance(outcome, Failed):
            self._forget()
            return outcome
        return replace(outcome, json=self.join(outcome.json))

    def _forget(self) -> None:
        self._texts, self._size_bytes = [], 0


def _check_elements(text: bytes) -> None:
    """Check that a JSON value is an array with an element. Raises Forged."""
    if text[:1] != b"[" or text[-1:] != b"]" or _EMPTY.fullmatch(text) is not None:
        raise Forged


def check_text(text: bytes) -> None:
    """Check that the bytes are one JSON value. Raises UnicodeDecodeError or a DecodeError."""
    _check_unicode(text)
    _value(text)


def _check_unicode(text: bytes) -> None:
    if not text.isascii():
        str(text, "utf-8")


def check_values(text: bytes, count: int) -> None:
    """Check that the bytes are one JSON array of `count` values. Raises Forged or a DecodeError."""
    _check_unicode(text)
    if text[:1] != b"[" or text[-1:] != b"]":
        raise Forged
    if count < _MANY or b'"' in text or b"{" in text or text.find(b"[", 1) > 0:
        n = len(_values(text))
    else:  # numbers, true, false and null alone: the commas tell how many
        _value(text)
        n = text.count(b",") + 1
    if n != count:
        raise Forged
