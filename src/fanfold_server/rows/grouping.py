"""Groups of rows that memory holds: by numbering the values of their columns, without sorting rows.

DuckDB sorts whole rows by comparing, and has no other way when they spill. Rows that memory holds
are gathered here instead: each gets the number of its group, the few groups are sorted by DuckDB,
and the order of the rows follows from counting. That takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

MOST_GROUPS: Final = 1 << 16
"""Up to so many Arrow sorts numbers by counting them."""

_GROUPS: Final = "fanfold_groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """Where the rows of groups are.

    Attributes:
        order: numbers of rows, those of a group together and in their own order.
        starts: at which places of `order` groups begin.
        keys: what each is called.
    """

    order: pa.Array
    starts: list[int]
    keys: list[str]


def hold(
    reader: pa.RecordBatchReader,
    by: Sequence[str],
    room_bytes: int,
    is_stopped: Callable[[], bool],
) -> pa.Table | None:
    """Take rows into memory, if there are any, they have room, and their groups can be counted."""
    if not all(_is_countable(reader.schema.field(name)) for name in by):
        return None
    batches = []
    for batch in reader:
        if is_stopped():
            raise duckdb.InterruptException
        room_bytes -= batch.nbytes
        if room_bytes < 0:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema) if batches else None


def _is_countable(column: pa.Field) -> bool:
    """Whether values of a column are the same for DuckDB exactly if their bytes are."""
    kind, types = column.type, pa.types
    return bool(
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_date32(kind)
        or types.is_timestamp(kind)
        or types.is_time64(kind)
        or types.is_decimal128(kind)
    )


def group(
    connection: duckdb.DuckDBPyConnection, table: pa.Table, by: Sequence[str], key: str
) -> Grouped | None:
    """Find the groups of a table, sorted as DuckDB sorts their values; None if they are too many.

    Args:
        by: countable columns.
        key: the SQL of a group's key, in which they are called c0, c1, ….
    """
    numbers, values = _number(table, by)
    if len(values) > MOST_GROUPS:
        return None
    connection.register(_GROUPS, values)
    try:
        sorting = ", ".join(f"{name} ASC NULLS LAST" for name in values.column_names)
        found = connection.sql(
            f"SELECT number, {key} FROM (SELECT *, row_number() OVER () - 1 AS number "
            f"FROM {_GROUPS}) ORDER BY {sorting}"
        ).to_arrow_table()
    finally:
        connection.unregister(_GROUPS)
    places = pc.sort_indices(found.column(0)).cast(pa.int32())
    order = pc.sort_indices(ranks := places.take(numbers))
    return Grouped(order=order, starts=_starts(ranks.take(order)), keys=found.column(1).to_pylist())


def gathered(table: pa.Table, grouped: Grouped, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield rows in the order of their groups.

    Args:
        rows: of a batch.
    """
    (whole,) = table.combine_chunks().to_batches()
    for place in range(0, table.num_rows, rows):
        yield whole.take(grouped.order.slice(place, rows))


def _number(table: pa.Table, by: Sequence[str]) -> tuple[pa.Array, pa.Table]:
    """Number the groups as they occur: return each row's, (n_rows,) int32, and their values."""
    first = _encoded(table.column(by[0]))
    numbers, values = first.indices, [first.dictionary]
    for name in by[1:]:
        encoded = _encoded(table.column(name))
        size = len(encoded.dictionary)
        pairs = pc.add(pc.multiply(numbers.cast(pa.int64()), size), encoded.indices)
        found = _encoded(pairs)
        one = pc.divide(found.dictionary, size)
        other = pc.subtract(found.dictionary, pc.multiply(one, size))
        values = [*(each.take(one) for each in values), encoded.dictionary.take(other)]
        numbers = found.indices
    return numbers, pa.table(values, names=[f"c{place}" for place in range(len(by))])


def _encoded(values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Number the values as they occur, null among them."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return pc.dictionary_encode(values, null_encoding="encode")


def _starts(ranks: pa.Array) -> list[int]:
    """Return where stretches of the same number begin; there is a row."""
    changed = pc.indices_nonzero(pc.not_equal(ranks[1:], ranks[:-1]))
    return [0, *pc.add(changed, 1).to_pylist()]
