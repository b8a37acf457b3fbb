"""NumPy arrays and pandas tables as plain Python: the part of `plain.py` that knows them.

Whoever calls this has met an object of theirs, so both modules are imported if they are needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Callable

from fanfold_runtime.plain import (
    AS_THEY_ARE,
    EXACT_BELOW,
    NotJson,
    Path,
    Walk,
    advice,
    plain_float,
)

FRAME_DECIMALS = 10
"""Decimals of a DataFrame's floats on the compatible wire."""

_MAX_LITERAL = 256
"""Columns up to which records are made by compiled code."""

_STRETCH_CELLS = 5_000
"""So many cells are written at once: they fit into the processor's cache, and what they took is
there for the next. All at once take twice the time."""

_Cells = Callable[[int, int], list[Any]]
"""The values of a column from one row up to another."""

_FLOAT_BYTES = 8

_COARSE_FROM = float(1 << 19)
"""From here on neighbouring floats are more than 1e-10 apart: rounding changes nothing."""


def plain(walk: Walk, v: Any, path: Path, depth: int) -> Any:
    """Return an object of NumPy's or pandas' as plain Python. Raises NotJson."""
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    kinds = type(v).__mro__
    if np is not None and (np.ndarray in kinds or np.generic in kinds):
        return _array(walk, v, path, depth, np)
    if pd is not None:
        if pd.DataFrame in kinds:
            return _frame(walk, v, path, depth)
        if pd.Series in kinds or pd.Index in kinds:
            return _column(walk, v, path, depth)
        if v is pd.NaT or v is pd.NA:
            return None
        if isinstance(v, pd.Timestamp):
            return v.isoformat()
        if isinstance(v, pd.Timedelta):
            return plain_float(v.total_seconds(), walk.keep)
        if isinstance(v, pd.Period):
            return str(v)
        if isinstance(v, pd.api.extensions.ExtensionArray):
            return _column(walk, pd.Series(v), path, depth)
    raise NotJson(advice(v, path))


def _array(walk: Walk, v: Any, path: Path, depth: int, np: Any) -> Any:
    if isinstance(v, np.ma.MaskedArray):
        return walk.plain(v.tolist(), path, depth)  # masked entries are None
    kind = v.dtype.kind
    if kind in "Mm":
        return _times(walk, v, path, depth, np)
    if kind == "V" and v.dtype.names:
        return _records(walk, v, path, depth)
    if kind not in "biufSUO":
        raise NotJson(advice(v, path))
    listed = v.tolist()
    if isinstance(listed, np.generic):  # longdouble stays what it is
        return _long(walk, listed, np)
    return walk.plain(listed, path, depth)


def _long(walk: Walk, v: Any, np: Any) -> Any:
    """A longdouble: a whole number with all digits, else the nearest float."""
    with np.errstate(over="ignore", under="ignore"):
        nearest = float(v)
    if nearest == v or not np.isfinite(v):
        return plain_float(nearest, walk.keep)
    whole = int(v)
    return whole if whole == v else plain_float(nearest, walk.keep)


def _times(walk: Walk, v: Any, path: Path, depth: int, np: Any) -> Any:
    """datetime64 as ISO 8601 text, timedelta64 as seconds; NaT as null."""
    if v.dtype.kind == "M":
        texts = np.datetime_as_string(v)
        return _no_nat(texts.tolist() if isinstance(v, np.ndarray) else str(texts))
    seconds = v / np.timedelta64(1, "s")  # NaT becomes NaN, hence null
    return walk.plain(seconds.tolist(), path, depth)


def _no_nat(texts: Any) -> Any:
    if isinstance(texts, list):
        return [_no_nat(t) for t in texts]
    return None if texts == "NaT" else texts


def _records(walk: Walk, v: Any, path: Path, depth: int) -> Any:
    """A record array as a list of objects (one object for a single record)."""
    if v.ndim == 0:
        return {n: walk.plain(v[n], (path, n), depth + 1) for n in v.dtype.names}
    return [_records(walk, row, (path, i), depth + 1) for i, row in enumerate(v)]


def by_columns(walk: Walk, df: Any) -> dict[str, Any]:
    """A DataFrame as an object of columns, each an object of values by row label."""
    names, columns = _columns(walk, df, None, 0)
    labels = [walk.key(_label(label), None) for label in df.index]
    return {name: dict(zip(labels, column)) for name, column in zip(names, columns)}


def _frame(walk: Walk, df: Any, path: Path, depth: int) -> list[dict[str, Any]]:
    """A DataFrame as a list of records; row labels are lost."""
    names, columns = _columns(walk, df, path, depth)
    if not columns:
        return [{} for _ in range(len(df))]
    return _maker_of(names)(names, columns)


def stretches(
    walk: Walk, df: Any, encode: Callable[[list[dict[str, Any]]], bytes]
) -> Iterator[bytes]:
    """Yield the records of a DataFrame as JSON arrays that joined are what `plain` makes of it.

    All columns are converted before the first is yielded: what has no JSON form is told then.

    Raises:
        NotJson: some part has no JSON form.
    """
    names, cells = _cells_of(walk, df, None, 0)
    if not names:
        return
    make, rows = _maker_of(names), max(1, _STRETCH_CELLS // len(names))
    for start in range(0, len(df), rows):
        end = min(start + rows, len(df))
        yield encode(make(names, [cut(start, end) for cut in cells]))


def _maker_of(names: list[str]) -> Callable[[list[str], list[list[Any]]], list[dict[str, Any]]]:
    """Return what makes records of columns with these names."""
    return _maker(len(names)) if len(names) <= _MAX_LITERAL else _records_of_many


def _records_of_many(names: list[str], columns: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row)) for row in zip(*columns)]


@lru_cache(maxsize=16)
def _maker(width: int) -> Callable[[list[str], list[list[Any]]], list[dict[str, Any]]]:
    """Return a function of names and columns that makes the records, for a number of columns.

    It is compiled for that number, so that each record is a literal: half the time of
    `dict(zip(…))`. Nothing of a user's is in its text.
    """
    numbers = range(width)
    names = ",".join("n%d" % i for i in numbers)
    values = ",".join("v%d" % i for i in numbers)
    members = ",".join("n%d:v%d" % (i, i) for i in numbers)
    text = "def make(names, columns):\n %s, = names\n return [{%s} for %s, in zip(*columns)]"
    found: dict[str, Any] = {}
    exec(text % (names, members, values), found)
    make: Callable[[list[str], list[list[Any]]], list[dict[str, Any]]] = found["make"]
    return make


def _columns(walk: Walk, df: Any, path: Path, depth: int) -> tuple[list[str], list[list[Any]]]:
    """The names and the values of a DataFrame's columns."""
    names, cells = _cells_of(walk, df, path, depth)
    return names, [cut(0, len(df)) for cut in cells]


def _cells_of(walk: Walk, df: Any, path: Path, depth: int) -> tuple[list[str], list[_Cells]]:
    names = [walk.key(_label(c), path) for c in df.columns]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise NotJson("a returned DataFrame has two columns named %r; rename one" % (twice,))
    cells = [
        _cells(walk, df.iloc[:, i], (path, name), depth + 1, walk.round_frames)
        for i, name in enumerate(names)
    ]
    return names, cells


def _column(walk: Walk, s: Any, path: Path, depth: int) -> list[Any]:
    return _cells(walk, s, path, depth, rounded=False)(0, len(s))


def _cells(walk: Walk, s: Any, path: Path, depth: int, rounded: bool) -> _Cells:
    kind = getattr(s.dtype, "kind", "O")
    is_numpy = not hasattr(s.dtype, "na_value")
    if is_numpy and kind == "f" and s.dtype.itemsize <= _FLOAT_BYTES:
        values = s.to_numpy(dtype=float, copy=rounded)
        if rounded:
            fine = abs(values) < _COARSE_FROM
            values[fine] = _rounded(values[fine])
        return _floats(walk, values)
    if is_numpy and kind in "biu":
        array = s.to_numpy()
        return lambda start, end: array[start:end].tolist()
    listed = s.tolist()
    if not AS_THEY_ARE.issuperset(map(type, listed)):
        listed = [walk.plain(x, (path, i), depth) for i, x in enumerate(listed)]
        if rounded and kind in "fO":
            listed = [
                plain_float(round(x, FRAME_DECIMALS), walk.keep) if type(x) is float else x
                for x in listed
            ]
    return lambda start, end: listed[start:end]


def _floats(walk: Walk, values: Any) -> _Cells:
    """Return an array of floats as `plain_float` would, asking it only where it changes one."""
    np = sys.modules["numpy"]
    is_odd = ~np.isfinite(values)
    if not walk.keep:
        is_odd |= (values == np.trunc(values)) & (abs(values) < EXACT_BELOW)
    odd = np.flatnonzero(is_odd)

    def cut(start: int, end: int) -> list[Any]:
        listed: list[Any] = values[start:end].tolist()
        first, last = np.searchsorted(odd, (start, end))
        for i in odd[first:last].tolist():
            listed[i - start] = plain_float(listed[i - start], walk.keep)
        return listed

    return cut


def _rounded(values: Any) -> Any:
    """Round an array as Python's `round` does, (n,) → (n,); all below _COARSE_FROM.

    To scale a number rounds it, too: where that could decide, Python's own is asked.
    """
    np = sys.modules["numpy"]
    scaled = values * 10.0**FRAME_DECIMALS
    found = np.rint(scaled) / 10.0**FRAME_DECIMALS
    from_half = abs(abs(scaled - np.trunc(scaled)) - 0.5)
    for i in np.flatnonzero(from_half <= abs(scaled) * 2.0**-51):
        found[i] = round(float(values[i]), FRAME_DECIMALS)
    return found


def _label(label: Any) -> Any:
    """A column label as text or number; the parts of a multi-level one joined with `_`."""
    return "_".join(map(str, label)) if isinstance(label, tuple) else label
