"""A returned object as JSON bytes: one normaliser, then the fastest encoder the environment has.

`plain.to_plain` is the reference; `Encoder.many` takes shortcuts for lists of plain numbers, and a
property test holds it to the reference. What has no JSON form raises `NotJson` with the place and
the cure.

JSON has no NaN or infinity: they become null, as do NaT and NA. Dates are ISO 8601 text, bytes
base64 text, enumerations their values, DataFrames lists of records without row labels.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from fanfold_runtime.jsontext import make_encoder
from fanfold_runtime.plain import NotJson, Walk, plain_float, to_plain

_NUMBERS = frozenset((int, bool, type(None)))
_NUMBERS_AND_FLOATS = _NUMBERS | {float}
_POINT_ZERO = re.compile(rb"\.0(?=[,\]])")
_MINUS_ZERO = re.compile(rb"-0\.0(?=[,\]])")

_dumps = make_encoder(ascii_only=False)


class TooLong(Exception):
    """len() of the returned object is over the limit; `args` = (length,)."""


def find_orjson() -> Any:
    """Return the module orjson if this environment has it, else None."""
    try:
        import orjson
    except Exception:  # a broken optional library is the same as none
        return None
    return orjson


def is_frame(value: object) -> bool:
    """Say whether a value is a DataFrame."""
    pd = sys.modules.get("pandas")
    return pd is not None and getattr(pd, "DataFrame", None) in type(value).__mro__


class Unfit(Exception):
    """A value cannot be written in stretches; `Encoder.one` writes it, or says why not."""


class Encoder:
    """Turns returned objects into JSON bytes.

    Args:
        keep_point_zero: write 6.0 as `6.0` instead of `6`.
        round_frames: round floats of DataFrames to 10 decimals.
        max_len: refuse objects whose len() is over this; 0 means no limit.
        orjson: the module, if it is to be used.
        column_frames: write a returned DataFrame by columns, with its row labels.
    """

    __slots__ = ("_fast", "column_frames", "keep_point_zero", "max_len", "round_frames")

    def __init__(
        self,
        keep_point_zero: bool,
        round_frames: bool,
        max_len: int,
        orjson: Any = None,
        column_frames: bool = False,
    ) -> None:
        self.column_frames = column_frames
        self.keep_point_zero = keep_point_zero
        self.round_frames = round_frames
        self.max_len = max_len
        self._fast = None if orjson is None else orjson.dumps

    # ------------------------------------------------------------------ entry points

    def many(self, values: list[Any]) -> bytes:
        """Return a JSON array of the values.

        Raises:
            TooLong, NotJson: about one of them; find out which with `one`.
            MemoryError: they take too much.
        """
        kinds = set(map(type, values))
        if kinds <= _NUMBERS:
            return self._text(values)
        if kinds <= _NUMBERS_AND_FLOATS:
            return self._numbers(values)
        return self._joined([self._plain(v) for v in values])

    def one(self, value: Any) -> bytes:
        """Return the value as JSON. Raises TooLong, NotJson or MemoryError."""
        kind = type(value)
        if kind is float:
            return self._text(plain_float(value, self.keep_point_zero))
        return self._text(value if kind in _NUMBERS else self._plain(value))

    def stretches(self, value: Any) -> Iterator[bytes]:
        """Yield JSON arrays that joined are what `one` returns for a DataFrame.

        Raises:
            Unfit: at any time; what was yielded is void.
            TooLong, MemoryError: as `one`.
        """
        if self._fast is None or self.column_frames or not is_frame(value):
            raise Unfit
        self._check_length(value)
        from fanfold_runtime import tables

        walk = Walk(self.keep_point_zero, self.round_frames)
        try:
            yield from tables.stretches(walk, value, self._fast)
        except MemoryError:
            raise
        except Exception as exc:  # also what a user's class raises when it is read
            raise Unfit from exc

    # ------------------------------------------------------------------ inside

    def _check_length(self, value: Any) -> None:
        if self.max_len and type(value) not in _NUMBERS_AND_FLOATS:
            try:
                n = len(value)
            except Exception:  # it has none, or one that lies
                n = 0
            if n > self.max_len:
                raise TooLong(n)

    def _plain(self, value: Any) -> Any:
        self._check_length(value)
        return to_plain(
            value,
            self.keep_point_zero,
            self.round_frames,
            self.column_frames and is_frame(value),
        )

    def _numbers(self, values: list[Any]) -> bytes:
        if self._fast is not None:
            try:
                text: bytes = self._fast(values)  # NaN and infinities come out as null
            except TypeError:  # an int of more than 64 bits
                text = b""
            if text:
                if not self.keep_point_zero and b".0" in text:
                    if b"-0.0" in text:
                        text = _MINUS_ZERO.sub(b"0", text)
                    text = _POINT_ZERO.sub(b"", text)
                return text
        keep = self.keep_point_zero
        return self._joined([plain_float(v, keep) if type(v) is float else v for v in values])

    def _joined(self, plain: list[Any]) -> bytes:
        """Encode several values, each as it is encoded alone, whatever its neighbours are."""
        if self._fast is None:
            return self._text(plain)
        try:
            text: bytes = self._fast(plain)
        except (TypeError, RecursionError):
            return b"[%b]" % b",".join([self._text(v) for v in plain])
        return text

    def _text(self, plain: Any) -> bytes:
        """Encode what `to_plain` made."""
        if self._fast is not None:
            try:
                text: bytes = self._fast(plain)
            except (TypeError, RecursionError):
                pass  # large ints or lone surrogates: the standard library decides
            else:
                return text
        try:
            return _dumps(plain).encode()
        except UnicodeEncodeError:
            raise NotJson(
                "the value holds text that is not valid Unicode (a lone surrogate)"
            ) from None
        except RecursionError:
            raise NotJson("the value is nested deeper than the recursion limit allows") from None
        except ValueError as exc:  # an int of more digits than Python turns into text
            raise NotJson("the value has no JSON form: %s" % exc) from None
