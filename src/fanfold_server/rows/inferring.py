"""Arrow batches of rows that a driver gives as Python objects, whose types nobody has said."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from fanfold_server.model.errors import UnsupportedColumn
from fanfold_server.rows.session import floats, rows_a_batch, unsupported

BLOCK_BYTES: Final = 16 << 20
_FIRST_BLOCK: Final = 256
_MAX_DIGITS: Final = 38
_CAST: Final = "cast it to one type"
_PLAIN: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    bytearray: pa.binary(),
    memoryview: pa.binary(),
    dt.date: pa.date32(),
    dt.time: pa.time64("us"),
    dt.timedelta: pa.month_day_nano_interval(),
    UUID: pa.string(),
}
_MADE: Final[dict[type, Callable[[Any], object]]] = {
    bytearray: bytes,
    memoryview: bytes,
    UUID: str,
    dt.timedelta: lambda value: pa.MonthDayNano(
        [0, value.days, (value.seconds * 1_000_000 + value.microseconds) * 1000]
    ),
}


class Column:
    """What is known of a column by now.

    Args:
        name: of the column.
        digits: how many a decimal has, and how many of them behind the point, if the database
            has said.
    """

    def __init__(self, name: str, digits: tuple[int, int] | None) -> None:
        self.name = name
        self._digits = digits
        self._type = pa.null()

    def array(self, values: Sequence[Any]) -> pa.Array:
        """Make an array, of a type as wide as all values until now need.

        Raises:
            UnsupportedColumn: there is none.
        """
        found = {type(value) for value in values}
        found.discard(type(None))
        kinds = {self._kind(kind, values) for kind in found}
        if not pa.types.is_null(self._type):
            kinds.add(self._type)
        if kinds == {pa.int64(), pa.float64()}:
            kinds = {pa.float64()}
        if len(kinds) > 1:
            shown = " and ".join(sorted(str(kind) for kind in kinds))
            raise unsupported(self.name, f"holds values of several types ({shown})", _CAST)
        self._type = kinds.pop() if kinds else pa.null()
        if Decimal in found and pa.types.is_float64(self._type):
            texts = [None if value is None else format(value, "f") for value in values]
            return floats(self.name, pa.array(texts, pa.string()))
        for kind in found & _MADE.keys():
            make = _MADE[kind]
            values = [make(value) if isinstance(value, kind) else value for value in values]
        try:
            return pa.array(values, type=self._type)
        except (pa.ArrowInvalid, OverflowError) as exc:
            raise unsupported(
                self.name, f"holds values that {self._type} does not keep", _CAST
            ) from exc

    def _kind(self, kind: type, values: Sequence[Any]) -> pa.DataType:
        if kind is Decimal:
            if self._digits is None:
                return pa.float64()
            return pa.decimal128(*self._digits)
        if issubclass(kind, dt.datetime):
            zoned = {v.tzinfo is not None for v in values if isinstance(v, dt.datetime)}
            if len(zoned) > 1:
                raise unsupported(self.name, "holds times with a zone and times without", _CAST)
            return pa.timestamp("us", tz="UTC" if zoned.pop() else None)
        found = _PLAIN.get(kind)
        if found is None:
            found = next((_PLAIN[each] for each in _PLAIN if issubclass(kind, each)), None)
        if found is None:
            raise unsupported(
                self.name, f"holds values of type {kind.__name__}", "cast it, to text for example"
            )
        return found


def known_digits(precision: object, scale: object) -> tuple[int, int] | None:
    """Read a driver's word on the digits of a column; None if it has none that can be used."""
    if not isinstance(precision, int) or not isinstance(scale, int):
        return None
    usable = 0 < precision <= _MAX_DIGITS and 0 <= scale <= precision
    return (precision, scale) if usable else None


def batches(
    columns: Sequence[Column], fetch: Callable[[int], Sequence[Sequence[Any]]]
) -> Iterator[pa.RecordBatch]:
    """Fetch all rows, in batches of bounded size.

    Args:
        fetch: gives the next so many rows; none at the end.

    Raises:
        UnsupportedColumn: names a column.
    """
    most = rows_a_batch(len(columns))
    size, is_first = min(_FIRST_BLOCK, most), True
    while rows := fetch(size):
        yield _batch(columns, rows)
        is_first = False
        size_bytes = sum(_size(value) for value in rows[-1]) + sum(map(_size, rows[0]))
        size = max(1, min(most, size * 4, BLOCK_BYTES * 2 // size_bytes))
    if is_first:
        yield _batch(columns, [])


def _batch(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [column.array(each) for column, each in zip(columns, values, strict=True)]
    return pa.record_batch(arrays, names=[column.name for column in columns])


def _size(value: object) -> int:
    try:
        return sys.getsizeof(value)
    except TypeError:
        return 64


__all__ = ["Column", "UnsupportedColumn", "batches", "known_digits"]
