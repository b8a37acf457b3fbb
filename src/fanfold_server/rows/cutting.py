"""Run a query that passed the gate, and write its rows as a file cut into calls.

Order, groups and their edges are found by DuckDB in streams; rows never become Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from fanfold_server.model.errors import UnsupportedColumn
from fanfold_server.rows.columns import check_columns, resolve
from fanfold_server.rows.gate import bind, quoted, translate
from fanfold_server.rows.grouping import gathered, group, hold
from fanfold_server.rows.instance import lock
from fanfold_server.rows.session import check_times, unsupported
from fanfold_server.rows.spooling import MIB, rows_file, too_large, write_offsets

CELLS_A_BATCH = 1 << 22
ROWS_A_BATCH = 1 << 20
_ROWS_GATHERED = 1 << 18
_ROWS_STREAMED = 1 << 16
"""Rows that are written as they come: so many at a time, while the next are made."""

_COLLATED = "collate"
"""A word of queries whose text may sort, and be the same, in ways that its bytes do not tell."""

_NESTED = frozenset({"array", "list", "map", "struct", "union"})
_UNCARRIED = frozenset({"bignum", "bit", "time with time zone"})
_ROW = "fanfold_row"
_SORTED = "fanfold_sorted"
_SPOOLED = "fanfold_spooled"

_STREAMED = {
    "interrupt": duckdb.InterruptException,
    "not implemented": duckdb.NotImplementedException,
    "out of memory": duckdb.OutOfMemoryException,
}
"""Errors that are told by themselves, by how their messages begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How the rows are cut into calls; without any of these it is one call.

    Attributes:
        rows: rows of a chunk; 0 for none.
        by: columns whose values make a group, as the request spells them.
        order: columns by which rows are sorted.
        order_within: groups stay whole.
    """

    rows: int = 0
    by: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    order_within: bool = False


def run(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    cut: Cut,
    path: Path,
    *,
    limit_mib: int,
    held_mib: int,
    is_stopped: Any,
) -> dict[str, Any]:
    """Write the rows of an inspected statement.

    Args:
        connection: an instance that holds what the reader may read.
        path: of the file to write; edges of calls go beside it, as `<path>.offsets`.
        limit_mib: size of the file, at most.
        held_mib: rows up to this size are grouped in memory; more are sorted, and may spill.
        is_stopped: called between batches; true ends the query.

    Returns:
        The members of a `Rowset`, as JSON has them.

    Raises:
        CallerError: one of those that `RowSource` lists.
    """
    bind(connection, text)
    with _explained():
        connection.execute("BEGIN TRANSACTION READ ONLY")
        relation = connection.sql(text)
        columns = list(relation.columns)
        check_columns(columns)
        _check_kinds(relation)
        by = resolve(columns, cut.by, "groupBy")
        order = resolve(columns, cut.order, "orderBy")
        grouped = None
        if by and not order and _COLLATED not in text.lower():
            # No name for the reader: it has to go before the connection does anything else.
            held = hold(
                relation.to_arrow_reader(_rows_a_batch(len(columns))),
                by,
                held_mib * MIB,
                is_stopped,
            )
            connection.execute("ROLLBACK")
            grouped = None if held is None else group(connection, held, by, _key(len(by)))
            if held is not None and grouped is not None:
                batches = gathered(held, grouped, min(_rows_a_batch(len(columns)), _ROWS_GATHERED))
                rows = _write(held.schema, batches, path, limit_mib, is_stopped)
                return _described(path, columns, rows, grouped.starts, _unique(grouped.keys))
            del held
            connection.execute("BEGIN TRANSACTION READ ONLY")
        if by:
            relation = connection.sql(_sorted(text, columns, by, order, within=cut.order_within))
        reader = relation.to_arrow_reader(_rows_streamed(len(columns)))
        rows = _write(reader.schema, reader, path, limit_mib, is_stopped)
        connection.execute("ROLLBACK")
    return _finish(connection, path, columns, cut, by=by, is_ordered=bool(order), rows=rows)


def cut_file(
    connection: duckdb.DuckDBPyConnection,
    data: Path,
    cut: Cut,
    path: Path,
    *,
    limit_mib: int,
    is_stopped: Any,
) -> dict[str, Any]:
    """Sort and cut rows that are in a file already, those of a database of others.

    The groups of all databases are found here, and not by each by itself: they differ in how they
    sort text, where nulls come, and what is equal; a rowset's order and its keys do not.

    Args:
        connection: a blank instance.
        data: an Arrow file, with the columns that `cut` names.

    Returns, Raises:
        As `run`.
    """
    connection.execute("SET TimeZone = 'UTC'")
    lock(connection)
    with _explained(), pa.memory_map(str(data)) as mapped:
        table = pa.ipc.open_file(mapped).read_all()
        connection.register(_SPOOLED, table)
        columns = list(table.column_names)
        by = resolve(columns, cut.by, "groupBy")
        order = resolve(columns, cut.order, "orderBy")
        spooled = f"SELECT * FROM {_SPOOLED}"
        text = _sorted(spooled, columns, by, order, within=cut.order_within)
        reader = connection.sql(text).to_arrow_reader(_rows_streamed(len(columns)))
        rows = _write(reader.schema, reader, path, limit_mib, is_stopped)
        connection.unregister(_SPOOLED)
    return _finish(connection, path, columns, cut, by=by, is_ordered=bool(order), rows=rows)


@contextmanager
def _explained() -> Iterator[None]:
    """Tell what goes wrong while a query runs, or while its rows are read, as errors of ours.

    Raises:
        CallerError: as `translate` says.
    """
    try:
        yield
    except duckdb.Error as exc:
        raise translate(exc) from exc
    except OSError as exc:
        # Of an error that comes among the rows Arrow keeps the text, and nothing else.
        kind = re.match(r"([\w ]+) Error: ", str(exc))
        if kind is None or exc.errno is not None:
            raise
        raise translate(_STREAMED.get(kind[1].lower(), duckdb.Error)(str(exc))) from exc
    except pa.ArrowNotImplementedError as exc:
        raise UnsupportedColumn(str(exc)) from exc


def _finish(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    columns: list[str],
    cut: Cut,
    *,
    by: list[str],
    is_ordered: bool,
    rows: int,
) -> dict[str, Any]:
    """Write where calls begin in a file of rows, and describe it all."""
    keys: list[str] | None = None
    starts: Iterable[int] | None = None
    if by:
        starts, keys = _groups(connection, path, by, numbered=is_ordered and not cut.order_within)
    elif cut.rows:
        starts = range(0, rows, cut.rows)
    return _described(path, columns, rows, starts, keys)


def _described(
    path: Path,
    columns: list[str],
    rows: int,
    starts: Iterable[int] | None,
    keys: list[str] | None,
) -> dict[str, Any]:
    """Write where calls begin, and return the members of a `Rowset`."""
    offsets = None if starts is None else Path(f"{path}.offsets")
    calls = 1 if offsets is None or starts is None else write_offsets(offsets, starts, rows)
    path.chmod(0o400)
    return {
        "path": str(path),
        "rows": rows,
        "columns": columns,
        "size_bytes": path.stat().st_size,
        "offsets": None if offsets is None else str(offsets),
        "keys": keys,
        "calls": calls,
    }


def _sorted(
    text: str, columns: Sequence[str], by: Sequence[str], order: Sequence[str], *, within: bool
) -> str:
    """Sort the input so that groups are runs, or as `order` says; else rows keep their order.

    Columns are known by their places meanwhile: any name may be among them, and two may differ in
    case alone, which DuckDB would not tell apart.
    """
    first = [*by, *order] if within or not order else order
    places = dict.fromkeys(columns.index(column) for column in first)
    keys = ", ".join(f"t.c{place} ASC NULLS LAST" for place in places)
    names = ", ".join(f"c{place}" for place in range(len(columns)))
    given = ", ".join(f"t.c{place} AS {quoted(name)}" for place, name in enumerate(columns))
    return (
        f"SELECT {given} FROM (SELECT *, row_number() OVER () AS {_ROW} FROM ({text}\n)"
        f" AS s({names})) AS t ORDER BY {keys}, t.{_ROW}"
    )


def _rows_a_batch(columns: int) -> int:
    return max(2048, min(ROWS_A_BATCH, CELLS_A_BATCH // max(columns, 1)))


def _rows_streamed(columns: int) -> int:
    return min(_rows_a_batch(columns), _ROWS_STREAMED)


def _write(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    path: Path,
    limit_mib: int,
    is_stopped: Any,
) -> int:
    """Write batches, and count the rows."""
    for column in schema:
        _check_type(column)
    with rows_file(path, schema, limit_mib * MIB) as file, closing(_ahead(batches)) as coming:
        for batch in coming:
            if is_stopped():
                raise duckdb.InterruptException
            for column, values in zip(schema.names, batch.columns, strict=True):
                check_times(column, values)
            if not file.write(batch):
                raise too_large(limit_mib)
    return file.rows


def _ahead(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    """Make a batch while the one before it is written."""
    batches = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _check_kinds(relation: duckdb.DuckDBPyRelation) -> None:
    """Refuse types of which Arrow gets no more than the bytes: a zone or a length would be lost."""
    for column, kind in zip(relation.columns, relation.types, strict=True):
        if any(part.id in _UNCARRIED for part in _parts(kind)):
            raise unsupported(column, f"is of type {kind}", "cast it, to VARCHAR for example")


def _parts(kind: DuckDBPyType) -> Iterator[DuckDBPyType]:
    """Yield a type and those that it consists of."""
    yield kind
    if kind.id in _NESTED:
        for _, part in kind.children:
            if isinstance(part, DuckDBPyType):  # an array's size is among them
                yield from _parts(part)


def _check_type(column: pa.Field) -> None:
    """Refuse types that pandas cannot be given with their meaning."""
    if pa.types.is_union(column.type):
        raise UnsupportedColumn(
            f'The column "{column.name}" is a UNION, which cannot be handed to a function; '
            "cast it, to VARCHAR for example.",
            column=column.name,
        )


def _groups(
    connection: duckdb.DuckDBPyConnection, path: Path, by: Sequence[str], *, numbered: bool
) -> tuple[list[int], list[str]]:
    """Find the edges of the groups in a sorted file, and name each."""
    with pa.memory_map(str(path)) as mapped:
        table = pa.ipc.open_file(mapped).read_all().select(by)
        names = [f"c{place}" for place in range(len(by))]
        connection.register(_SORTED, table.rename_columns(names))
        try:
            found = connection.sql(_edges(names)).to_arrow_table()
        finally:
            connection.unregister(_SORTED)
    starts: list[int] = found.column(0).to_pylist()
    keys: list[str] = found.column(1).to_pylist()
    if numbered and len(set(keys)) < len(keys):
        runs: dict[str, Iterator[int]] = {}
        keys = [f"{key}_{next(runs.setdefault(key, count(1)))}" for key in keys]
    return starts, _unique(keys)


def _edges(columns: Sequence[str]) -> str:
    """Ask where a group begins, and for its key: the values as text, joined with `_`."""
    changed = " OR ".join(f"{column} IS DISTINCT FROM lag({column}) OVER ()" for column in columns)
    return (
        f"SELECT {_ROW} - 1, {_key(len(columns))} FROM (SELECT *, row_number() OVER () AS {_ROW}"
        f", row_number() OVER () = 1 OR {changed} AS fanfold_edge FROM {_SORTED}) "
        "WHERE fanfold_edge"
    )


def _key(columns: int) -> str:
    """Write a group's key, of columns that are called c0, c1, …."""
    names = (f"c{place}" for place in range(columns))
    texts = ", ".join(f"coalesce(CAST({name} AS VARCHAR), 'null')" for name in names)
    return f"concat_ws('_', {texts})"


def _unique(keys: list[str]) -> list[str]:
    """Tell apart groups whose keys read alike, as null and 'null' do."""
    taken = set(keys)
    if len(taken) == len(keys):
        return keys
    seen: set[str] = set()
    unique = []
    for key in keys:
        name, number = key, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{key} ({number})"
        seen.add(name)
        unique.append(name)
    return unique
