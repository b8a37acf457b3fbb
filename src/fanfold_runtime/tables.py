"""NumPy arrays and pandas tables as plain Python: the part of `plain.py` that knows them.

Whoever calls this has met an object of theirs, so both modules are imported if they are needed.
"""

from __future__ import annotations

import sys
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
    if isinstance(listed, (np.ndarray, np.generic)):  # longdouble stays what it is
        listed = float(v) if isinstance(v, np.generic) else v.astype(float).tolist()
    return walk.plain(listed, path, depth)


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
    if len(names) > _MAX_LITERAL:
        return [dict(zip(names, row)) for row in zip(*columns)]
    return _maker(len(names))(names, columns)


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
    names = [walk.key(_label(c), path) for c in df.columns]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise NotJson("a returned DataFrame has two columns named %r; rename one" % (twice,))
    columns = [
        _column(walk, df.iloc[:, i], (path, name), depth + 1, walk.round_frames)
        for i, name in enumerate(names)
    ]
    return names, columns


def _column(walk: Walk, s: Any, path: Path, depth: int, rounded: bool = False) -> list[Any]:
    kind = getattr(s.dtype, "kind", "O")
    is_numpy = not hasattr(s.dtype, "na_value")
    if is_numpy and kind == "f":
        values = s.to_numpy(dtype=float, copy=rounded)
        if rounded:
            fine = abs(values) < _COARSE_FROM
            values[fine] = _rounded(values[fine])
        return _floats(walk, values)
    if is_numpy and kind in "biu":
        found: list[Any] = s.tolist()
        return found
    listed = s.tolist()
    if AS_THEY_ARE.issuperset(map(type, listed)):
        return list(listed)
    made = [walk.plain(x, (path, i), depth) for i, x in enumerate(listed)]
    if rounded and kind in "fO":
        made = [
            plain_float(round(x, FRAME_DECIMALS), walk.keep) if type(x) is float else x
            for x in made
        ]
    return made


def _floats(walk: Walk, values: Any) -> list[Any]:
    """Return an array of floats as `plain_float` would, asking it only where it changes one."""
    np = sys.modules["numpy"]
    listed: list[Any] = values.tolist()
    odd = ~np.isfinite(values)
    if not walk.keep:
        odd |= (values == np.trunc(values)) & (abs(values) < EXACT_BELOW)
    for i in np.flatnonzero(odd).tolist():
        listed[i] = plain_float(listed[i], walk.keep)
    return listed


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
