"""The reference of what a returned object is as JSON: `to_plain`, and what has no JSON form.

Only the real type of an object counts, never what its `__class__` says. Arrays and tables are in
`tables.py`.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import math
import sys
import uuid
from typing import Any, Callable, Optional

from fanfold_runtime.curing import cure_of
from fanfold_runtime.jsontext import make_encoder

MAX_DEPTH = 200
"""Containers inside containers; deeper values are refused."""

MAX_DIGITS = 4300
"""Of a whole number: as many as Python turns into text unless it is told otherwise."""

EXACT_BELOW = 1e16
"""From here on a float's shortest text has an exponent and no `.0` to drop."""

AS_THEY_ARE = frozenset((int, bool, type(None), str))
_AS_THEY_ARE_OR_FLOAT = AS_THEY_ARE | {float}
_isfinite = math.isfinite
_dumps = make_encoder(ascii_only=False)

Path = Optional[tuple]  # type: ignore[type-arg]  # 3.9 cannot write the recursive type
"""Where a part is: (path of the container, key or index); None is the value itself."""


class NotJson(Exception):
    """The value, or a part of it, has no JSON form."""


def to_plain(
    value: Any,
    keep_point_zero: bool = False,
    round_frames: bool = True,
    by_columns: bool = False,
) -> Any:
    """Return the value as None, bool, int, float, str, list and dict with text keys.

    Args:
        value: what a function returned.
        keep_point_zero: keep 6.0 a float instead of making it 6.
        round_frames: round floats of DataFrames to 10 decimals.
        by_columns: the value is a DataFrame, to be written by columns with its row labels.

    Raises:
        NotJson: some part has no JSON form, or is nested deeper than MAX_DEPTH.
        MemoryError: it takes too much.
    """
    try:
        walk = Walk(keep_point_zero, round_frames)
        if by_columns:
            from fanfold_runtime import tables

            return tables.by_columns(walk, value)
        return walk.plain(value, None, 0)
    except (NotJson, MemoryError):
        raise
    except Exception as exc:  # a user's class may do anything when it is read
        raise NotJson(
            "the returned value could not be read: %s: %.200s" % (type(exc).__name__, exc)
        ) from None


def plain_float(v: float, keep_point_zero: bool) -> float | None:
    """Return a float as JSON can hold it: NaN and infinities as None, 6.0 as 6 if so wanted."""
    if not _isfinite(v):
        return None
    if keep_point_zero or v != v // 1 or not -EXACT_BELOW < v < EXACT_BELOW:
        return v
    return int(v)


def plain_decimal(walk: Walk, v: decimal.Decimal, path: Path, _depth: int) -> float | None:
    """Return a Decimal as JSON can hold it: a whole number with all digits, else the nearest float.

    Raises:
        NotJson: it has no such form.
    """
    nearest = float(v)  # no signalling NaN becomes one
    if not v.is_finite():
        return None
    if v == nearest and -EXACT_BELOW < nearest < EXACT_BELOW:
        return plain_float(nearest, walk.keep)
    if v.adjusted() >= MAX_DIGITS:
        raise NotJson(
            "%s is a Decimal of %d digits before the point; %d have a JSON form: return str(...) "
            "of it" % (place(path)[:200], v.adjusted() + 1, MAX_DIGITS)
        )
    if v == v.to_integral_value():
        return int(v)
    if not _isfinite(nearest):
        raise NotJson(
            "%s is a Decimal beyond 1.8e308 with a fraction; return str(...) of it, or int(...)"
            % place(path)[:200]
        )
    return plain_float(nearest, walk.keep)


class Walk:
    """One traversal of a returned object."""

    def __init__(self, keep_point_zero: bool, round_frames: bool) -> None:
        self.keep = keep_point_zero
        self.round_frames = round_frames

    def plain(self, v: Any, path: Path, depth: int) -> Any:
        kind = type(v)
        if kind in AS_THEY_ARE:
            return v
        if kind is float:
            return plain_float(v, self.keep)
        if depth > MAX_DEPTH:
            raise NotJson(
                "%s is nested deeper than %d levels (does it hold itself?)"
                % (place(path)[:60], MAX_DEPTH)
            )
        if kind is list or kind is tuple:
            return self.sequence(v, path, depth)
        if kind is dict:
            return self.mapping(v, path, depth)
        for base, convert in _SCALARS:
            if issubclass(kind, base):
                return convert(self, v, path, depth)
        if _is_table(kind):
            from fanfold_runtime import tables

            return tables.plain(self, v, path, depth)
        for base, convert in _OTHERS:
            if issubclass(kind, base):
                return convert(self, v, path, depth)
        raise NotJson(advice(v, path))

    def sequence(self, v: Any, path: Path, depth: int) -> list[Any]:
        kinds = set(map(type, v))
        if kinds <= AS_THEY_ARE:
            return list(v)
        if kinds <= _AS_THEY_ARE_OR_FLOAT:
            keep = self.keep
            return [plain_float(x, keep) if type(x) is float else x for x in v]
        return [self.plain(x, (path, i), depth + 1) for i, x in enumerate(v)]

    def mapping(self, v: Any, path: Path, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for k, x in v.items():
            name = k if type(k) is str else self.key(k, path)
            if name in plain:
                raise NotJson(
                    "%s has two keys that are both %r as JSON; use text" % (place(path)[:80], name)
                )
            plain[name] = self.plain(x, (path, k), depth + 1)
        return plain

    def key(self, k: Any, path: Path) -> str:
        """Return the name of a JSON member for a key of a dict or a label of a column."""
        plain = self.plain(k, path, MAX_DEPTH)
        if isinstance(plain, str):
            return plain
        if isinstance(plain, (list, dict)):
            raise NotJson(
                "%s has the key %.60r, which cannot be the name of a JSON member; use text"
                % (place(path)[:80], k)
            )
        return "null" if plain is None else _dumps(plain)


def _is_table(kind: type) -> bool:
    """Say whether a type is numpy's or pandas', or descends from their arrays and tables."""
    if str(kind.__module__).partition(".")[0] in ("numpy", "pandas"):
        return True
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    bases = [getattr(np, "ndarray", None)]
    bases += [getattr(pd, name, None) for name in ("DataFrame", "Series", "Index")]
    return any(base in kind.__mro__ for base in bases)


def place(path: Path) -> str:
    """Return a path as Python would write it, e.g. `result['a'][3]`."""
    keys = []
    while path is not None:
        path, key = path
        keys.append("[%.60r]" % (key,))
    return "result" + "".join(reversed(keys))


def advice(v: Any, path: Path) -> str:
    """Return a sentence that says what has no JSON form, where it is, and what to do."""
    kind = "%s.%s" % (type(v).__module__, type(v).__qualname__)
    where = (
        "the function returned" if path is None else "the returned value holds at %s" % place(path)
    )
    return "%s an object of type %s, which has no JSON form; %s" % (
        where[:200],
        kind.replace("builtins.", "")[:200],
        cure_of(v),
    )


_Convert = Callable[[Walk, Any, Path, int], Any]
_Table = tuple[tuple[Any, _Convert], ...]

_SCALARS: _Table = (
    (enum.Enum, lambda w, v, path, depth: w.plain(v.value, path, depth + 1)),
    (int, lambda _w, v, _p, _d: int.__int__(v)),
    (float, lambda w, v, _p, _d: plain_float(float.__float__(v), w.keep)),
    (str, lambda _w, v, _p, _d: str.__str__(v)),
)
_OTHERS: _Table = (
    (dict, Walk.mapping),
    ((list, tuple), lambda w, v, path, depth: w.sequence(list(v), path, depth)),
    ((datetime.date, datetime.time), lambda _w, v, _p, _d: v.isoformat()),  # a datetime is a date
    (datetime.timedelta, lambda w, v, _p, _d: plain_float(v.total_seconds(), w.keep)),
    (decimal.Decimal, plain_decimal),
    (uuid.UUID, lambda _w, v, _p, _d: str(v)),
    (
        (bytes, bytearray, memoryview),
        lambda _w, v, _p, _d: base64.b64encode(v).decode("ascii"),
    ),
)
"""Tried in order: the first whose types the object's own type descends from converts it. What is
numpy's or pandas' comes between the two: their floats are floats, but their times are dates."""
