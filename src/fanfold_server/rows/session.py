"""The port between the process that reads databases of others (`reading.py`) and its adapters.

An adapter is a module with one class that is a `Session`, and nothing else that others use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from fanfold_server.model.errors import UnsupportedColumn

CONNECT_S: Final = 10
"""How long a database may take to let us in."""

CELLS_A_BATCH: Final = 1 << 20
ROWS_A_BATCH: Final = 1 << 16
_FIRST_YEAR_NS: Final = -62_135_596_800_000_000_000
_LAST_YEAR_NS: Final = 253_402_300_799_999_999_999
_INFINITY: Final = 2**63 - 1
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_EXACT_DIGITS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to read, and as whom.

    Attributes:
        url: without the password.
        seconds: that the query may take, > 0. The one who calls `interrupt` keeps to it; what is
            told to the database is a second guard.
    """

    url: str
    password: str | None = field(repr=False)
    seconds: float


class Broken(Exception):
    """The database cannot be reached, does not let us in, or went away; the message says how."""


class Refused(Exception):
    """The database does not run the query; the message is its own."""


class Session(Protocol):
    """A connection for one query, in a transaction that reads and is undone at the end.

    Guarantees: the query writes nothing, as far as the database can be told so. Rows come in
    batches of bounded size, in the query's order. Types are those that the data process takes and
    gives back as they are: numbers, decimals of at most 38 digits, bool, text, bytes, date, time,
    timestamps in µs (with a zone: in UTC), lists and structs of these. The first batch may be
    empty, and there is one. A type may widen from one batch to the next: from null to any, from
    whole numbers to floats.

    Every method but `interrupt` raises:
        Broken, Refused: see there.
        UnsupportedColumn: names a column, and what it holds.
    """

    def open(self) -> None:
        """Connect, and begin."""
        ...

    def run(self, text: str) -> Iterator[pa.RecordBatch]:
        """Run an inspected statement."""
        ...

    def interrupt(self) -> None:
        """End what is under way, from another thread; harmless, and it may be said repeatedly."""
        ...

    def close(self) -> None:
        """Undo, and hang up."""
        ...


def unsupported(column: str, what: str, advice: str) -> UnsupportedColumn:
    """Say that a column cannot be handed to a function."""
    return UnsupportedColumn(
        f'The column "{column}" {what}, which cannot be handed to a function; {advice}.',
        column=column,
    )


def carried(column: str, kind: pa.DataType) -> pa.DataType:
    """Say as which type values of a plain type are carried.

    Raises:
        UnsupportedColumn: as none.
    """
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", tz=None if kind.tz is None else "UTC")
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_date(kind):
        return pa.date32()
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(carried(column, kind.value_type))
    if types.is_struct(kind):
        return pa.struct([(part.name, carried(column, part.type)) for part in kind])
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal128(kind):
        return kind
    if types.is_boolean(kind) or types.is_string(kind) or types.is_binary(kind):
        return kind
    if types.is_null(kind) or types.is_interval(kind):
        return kind
    raise unsupported(column, f"is of type {kind}", "cast it, to text for example")


def check_times(name: str, values: pa.Array) -> None:
    """Refuse times that no calendar of Python's has, "infinity" among them.

    Raises:
        UnsupportedColumn: there is one.
    """
    if pa.types.is_date32(values.type):
        ticks, nanoseconds = values.cast(pa.int32()), 86_400_000_000_000
    elif pa.types.is_timestamp(values.type):
        ticks, nanoseconds = values.cast(pa.int64()), _NANOSECONDS[values.type.unit]
    else:
        return
    ends = pc.min_max(ticks).as_py()
    if ends["min"] is None:
        return
    first, last = ends["min"], ends["max"]
    if (
        first * nanoseconds < _FIRST_YEAR_NS
        or last * nanoseconds > _LAST_YEAR_NS
        or first <= -_INFINITY
        or last >= _INFINITY
    ):
        raise unsupported(
            name, "holds a time beyond the years 1 to 9999 (or infinity)", "leave it out"
        )


def floats(name: str, texts: pa.Array) -> pa.Array:
    """Make floats of numbers as text: of those whose database does not say how many digits.

    Raises:
        UnsupportedColumn: there is a whole number that no float keeps.
    """
    is_long = pc.and_(
        pc.greater(pc.utf8_length(texts), _EXACT_DIGITS),
        pc.match_substring_regex(texts, r"^-?[0-9]+$"),
    )
    if pc.any(is_long, skip_nulls=True, min_count=0).as_py():
        raise unsupported(
            name, "holds whole numbers of more than 15 digits", "cast it to NUMERIC(38, 0)"
        )
    return pc.cast(texts, pa.float64())


def rows_a_batch(columns: int) -> int:
    """Say how many rows make a batch."""
    return max(64, min(ROWS_A_BATCH, CELLS_A_BATCH // max(columns, 1)))
