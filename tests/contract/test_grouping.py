"""Groups found by counting, in memory, are those that sorting finds, row by row."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanfold_server.rows import cutting
from fanfold_server.rows.grouping import MOST_GROUPS, group
from fanfold_server.rows.instance import Limits, TableFile, furnish, make_blank

HELD_MIB = 64

keys = {
    "BIGINT": st.sampled_from([0, -1, 7, 10, 2**62, -(2**62)]),
    "UTINYINT": st.integers(0, 255),
    "BOOLEAN": st.booleans(),
    "VARCHAR": st.sampled_from(["", "a", "A", "b", "null", "é", "Z", "1", "10", "2"]),
    "DATE": st.dates(dt.date(1969, 12, 30), dt.date(1970, 1, 3)),
    "TIMESTAMP": st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 0, 0, 1)),  # noqa: DTZ001 it has no zone
    "DECIMAL(5,2)": st.decimals(-2, 2, places=2).map(Decimal),
    "DOUBLE": st.sampled_from([0.5, -0.0, 0.0, 1e300]),
}


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw a query with one to three columns to group by, and one that tells rows apart."""
    kinds = draw(st.lists(st.sampled_from(list(keys)), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(st.none() | keys[kind] for kind in kinds)), max_size=40))
    names = [f"k{place}" for place in range(len(kinds))]
    values = [", ".join([*map(_literal, row), str(number)]) for number, row in enumerate(rows)]
    listed = (
        ", ".join(f"({value})" for value in values) or f"({', '.join(['NULL'] * len(names))}, 0)"
    )
    casts = ", ".join(
        f"CAST({name} AS {kind}) AS {name}" for name, kind in zip(names, kinds, strict=True)
    )
    where = "" if rows else " WHERE false"
    text = f"SELECT n, {casts} FROM (VALUES {listed}) AS t({', '.join(names)}, n){where}"
    return text, draw(st.permutations(names))


def _literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def cut(scratch: Path, text: str, by: list[str], held_mib: int, **options: Any) -> dict[str, Any]:
    """Run a query with its rows in memory, or not; return the keys, the offsets and the rows."""
    limits = Limits(memory_mib=256, threads=2, spill_mib=256, rowset_mib=256, spill=scratch)
    path = Path(tempfile.mkdtemp(dir=scratch)) / "rows"
    blank = make_blank(limits)
    try:
        furnish(blank.connection, "ANN", list[TableFile]())
        made = cutting.run(
            blank.connection,
            text,
            cutting.Cut(by=by, **options),
            path,
            limit_mib=256,
            held_mib=held_mib,
            is_stopped=lambda: False,
        )
    finally:
        blank.close()
    with pa.memory_map(str(path)) as mapped:
        table = pa.ipc.open_file(mapped).read_all()
        shown = {name: repr(table.column(name).to_pylist()) for name in table.column_names}
        types = table.schema.types
    offsets = Path(made["offsets"]).read_bytes()
    sizes = {name: made[name] for name in ("rows", "columns", "keys", "calls")}
    return {**sizes, "offsets": offsets, "table": shown, "types": types}


@given(asked=queries())
@example(asked=("SELECT 1 AS n, 2 AS k0 WHERE false", ["k0"]))
@example(asked=("SELECT n, ['null', NULL][n] AS k0 FROM range(1, 3) AS t(n)", ["k0"]))
@settings(deadline=None, max_examples=40)
def test_groups_in_memory_are_those_of_the_sort(
    scratch: Path, asked: tuple[str, list[str]]
) -> None:
    text, by = asked
    assert cut(scratch, text, by, HELD_MIB) == cut(scratch, text, by, 0)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT n, (n * 7919) % 1000 AS k FROM range(300000) AS t(n)",
        "SELECT n, (n * 7919) % 200000 AS k FROM range(300000) AS t(n)",
        "SELECT n, ['a', 'B', 'A', 'b'][n % 4 + 1] COLLATE nocase AS k FROM range(50) AS t(n)",
        "SELECT n, ['x', 'a', NULL][n % 3 + 1]::ENUM('x', 'a') AS k FROM range(50) AS t(n)",
        "SELECT n, n % 3 AS k, repeat('x', 1000) AS t FROM range(100000) AS t(n)",
        "SELECT n, md5((n % 9)::VARCHAR)::UUID AS k FROM range(50) AS t(n)",
        "SELECT n, ((n % 9) - 4)::HUGEINT * 10::HUGEINT ** 30 AS k FROM range(50) AS t(n)",
    ],
)
def test_many_groups_large_rows_and_odd_types_are_grouped_alike(scratch: Path, text: str) -> None:
    assert cut(scratch, text, ["k"], HELD_MIB) == cut(scratch, text, ["k"], 0)


def test_a_row_s_place_follows_from_counting() -> None:
    table = pa.table({"k": ["b", None, "a", "b", "a"], "n": [2, 1, 2, 2, 1]})
    connection = duckdb.connect()
    found = group(connection, table, ["k", "n"], "concat_ws('/', coalesce(c0, '-'), c1)")
    assert found is not None
    assert found.order.to_pylist() == [4, 2, 0, 3, 1]
    assert found.starts == [0, 1, 2, 4]
    assert found.keys == ["a/1", "a/2", "b/2", "-/1"]


def test_too_many_groups_are_not_counted() -> None:
    table = pa.table({"k": range(MOST_GROUPS + 1)})
    assert group(duckdb.connect(), table, ["k"], "c0") is None
