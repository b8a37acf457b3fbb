"""What every `RowSource` guarantees: which rows, in which order, cut where, under which keys."""

from __future__ import annotations

import asyncio
import os
import signal
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from fanfold_server.model.errors import (
    InvalidQuery,
    InvalidTable,
    QueryTimedOut,
    QueryTooLarge,
    UnknownColumn,
    UnsupportedColumn,
)
from fanfold_server.model.rows import Query, Rowset
from tests.contract.rows import Data, data_process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    async with data_process(tmp_path_factory.mktemp("rows")) as data:
        yield data


pytestmark = pytest.mark.asyncio(loop_scope="module")


def read(rowset: Rowset) -> list[dict[str, Any]]:
    with pa.memory_map(str(rowset.path)) as mapped:
        rows: list[dict[str, Any]] = ipc.open_file(mapped).read_all().to_pylist()
    assert len(rows) == rowset.rows
    assert rowset.size_bytes == rowset.path.stat().st_size
    return rows


def calls(rowset: Rowset) -> list[list[dict[str, Any]]]:
    rows = read(rowset)
    if rowset.offsets is None:
        assert rowset.calls == 1
        return [rows]
    edges = array("Q", rowset.offsets.read_bytes())
    assert len(edges) == rowset.calls + 1
    return [rows[edges[i] : edges[i + 1]] for i in range(rowset.calls)]


IRIS = "Sepal,Species\n5.1,setosa\n7.0,versicolor\n4.9,setosa\n6.3,virginica\n7.0,setosa\n"


async def test_a_rowset_is_for_us_alone_and_gone_when_released(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    rowset = await data.rows.chunks(Query(text="IRIS"), reader="ANN", rows=2)
    assert rowset.offsets is not None
    assert {path.stat().st_mode & 0o777 for path in (rowset.path, rowset.offsets)} == {0o400}
    await data.rows.release(rowset)
    await data.rows.release(rowset)
    assert data.leftovers() == set()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 1000])
async def test_chunks_come_in_the_query_s_order(data: Data, size: int) -> None:
    await data.load("ANN", "IRIS", IRIS)
    query = Query(text="SELECT * FROM IRIS ORDER BY Sepal DESC, Species")
    rowset = await data.rows.chunks(query, reader="ANN", rows=size)
    cut = calls(rowset)
    assert [len(chunk) for chunk in cut][:-1] == [size] * (len(cut) - 1)
    assert [row["Sepal"] for chunk in cut for row in chunk] == [7.0, 7.0, 6.3, 5.1, 4.9]
    await data.rows.release(rowset)


async def test_no_rows_make_no_chunk_and_no_group_but_one_whole(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    query = Query(text="SELECT * FROM IRIS WHERE false")
    assert (await data.rows.chunks(query, reader="ANN", rows=2)).calls == 0
    groups = await data.rows.groups(query, reader="ANN", by=["Species"])
    assert (groups.calls, groups.keys) == (0, ())
    assert calls(await data.rows.whole(query, reader="ANN")) == [[]]


async def test_groups_are_whole_and_keep_the_query_s_order(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    rowset = await data.rows.groups(Query(text="IRIS"), reader="ANN", by=["SPECIES"])
    assert rowset.keys == ("setosa", "versicolor", "virginica")
    assert rowset.columns == ("Sepal", "Species")
    assert [[row["Sepal"] for row in group] for group in calls(rowset)] == [
        [5.1, 4.9, 7.0],
        [7.0],
        [6.3],
    ]


async def test_an_order_that_breaks_groups_numbers_the_fragments(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    rowset = await data.rows.groups(
        Query(text="IRIS"), reader="ANN", by=["species"], order=["sepal"]
    )
    assert rowset.keys == ("setosa_1", "virginica_1", "versicolor_1", "setosa_2")
    assert [row["Sepal"] for group in calls(rowset) for row in group] == [4.9, 5.1, 6.3, 7.0, 7.0]


async def test_an_order_that_breaks_no_group_leaves_plain_keys(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    query = Query(text="SELECT * FROM IRIS WHERE Sepal < 7")
    rowset = await data.rows.groups(query, reader="ANN", by=["Species"], order=["Species"])
    assert rowset.keys == ("setosa", "virginica")


@pytest.mark.parametrize("names", [("fanfold_row", "fanfold_edge"), ("c1", "c0"), ("a", "A")])
async def test_columns_may_have_any_names(data: Data, names: tuple[str, str]) -> None:
    """Not even those that the cutting itself uses, or such as differ in case alone, get lost."""
    first, second = names
    values = "(VALUES (1, 8), (2, 7), (1, 6)) AS t(x, y)"
    query = Query(text=f'SELECT x AS "{first}", y AS "{second}" FROM {values}')
    rowset = await data.rows.groups(query, reader="ANN", by=[first])
    assert rowset.keys == ("1", "2")
    assert [[row[second] for row in call] for call in calls(rowset)] == [[8, 6], [7]]
    rowset = await data.rows.groups(query, reader="ANN", by=[first, first], order=[second])
    assert rowset.keys == ("1_1_1", "2_2_1", "1_1_2")
    assert read(rowset)[0] == {first: 1, second: 6}


async def test_order_within_sorts_whole_groups(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    rowset = await data.rows.groups(
        Query(text="IRIS"), reader="ANN", by=["Species"], order=["Sepal"], order_within=True
    )
    assert rowset.keys == ("setosa", "versicolor", "virginica")
    assert [row["Sepal"] for row in calls(rowset)[0]] == [4.9, 5.1, 7.0]


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ("('F', 97), ('M', 97), ('F', 98)", ("F_97", "F_98", "M_97")),
        ("('F', NULL), (NULL, 1), (NULL, NULL)", ("F_null", "null_1", "null_null")),
        ("(DATE '2026-01-02', true), (DATE '2025-12-31', false)", None),
        ("(1.5, 'a_b'), (1.5, 'a_b')", ("1.5_a_b",)),
        ("('a', 'b_c'), ('a_b', 'c')", ("a_b_c", "a_b_c (2)")),
        ("('nan'::DOUBLE, 1), ('nan'::DOUBLE, 1)", ("nan_1",)),
        ("('é', '漢'), ('', '')", ("_", "é_漢")),
        ("('null', 1), (NULL, 1)", ("null_1", "null_1 (2)")),
    ],
    ids=range(8),
)
async def test_keys_read_as_the_wire_has_them(
    data: Data, values: str, keys: tuple[str, ...] | None
) -> None:
    query = Query(text=f"SELECT * FROM (VALUES {values}) AS t(a, b)")
    rowset = await data.rows.groups(query, reader="ANN", by=["A", "B"])
    assert rowset.keys == (keys or ("2025-12-31_false", "2026-01-02_true"))


_CELLS = st.one_of(st.none(), st.integers(-2, 2), st.sampled_from(["", "a", "A", "é", "null"]))


@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS, st.integers(0, 3)), max_size=30),
    columns=st.sampled_from([["k"], ["l"], ["k", "l"]]),
    mode=st.sampled_from(["plain", "order", "within"]),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_groups_are_those_of_a_plain_model(
    data: Data, rows: list[tuple[Any, Any, int]], columns: list[str], mode: str
) -> None:
    """Nulls, duplicates, unicode: every row once, in the order promised, cut at each change."""
    values = ",".join(f"({_sql(k)}, {_sql(m)}, {o}, {i})" for i, (k, m, o) in enumerate(rows))
    filled = f"VALUES {values}" if rows else "SELECT '' , '', 0, 0 WHERE false"
    query = Query(text=f"SELECT * FROM ({filled}) AS t(k, l, o, i) ORDER BY i")
    order = [] if mode == "plain" else ["o"]
    rowset = await data.rows.groups(
        query, reader="ANN", by=columns, order=order, order_within=mode == "within"
    )
    made: list[dict[str, Any]] = [
        {"k": _text(k), "l": _text(m), "o": o, "i": i} for i, (k, m, o) in enumerate(rows)
    ]
    if mode == "order":
        made.sort(key=lambda row: row["o"])
    else:
        within = (lambda row: row["o"]) if order else (lambda _row: 0)
        made.sort(key=lambda row: ([_rank(row[c]) for c in columns], within(row)))
    expected: list[list[dict[str, Any]]] = []
    for row in made:
        same = expected and all(expected[-1][-1][c] == row[c] for c in columns)
        if same:
            expected[-1].append(row)
        else:
            expected.append([row])
    assert calls(rowset) == expected
    assert rowset.keys is not None
    assert len(set(rowset.keys)) == len(rowset.keys) == len(expected)
    await data.rows.release(rowset)


def _sql(cell: object) -> str:
    return "NULL" if cell is None else f"'{cell}'"


def _text(cell: object) -> str | None:
    return None if cell is None else str(cell)


def _rank(cell: str | None) -> tuple[bool, bytes]:
    return (cell is None, (cell or "").encode())


async def test_an_unknown_column_is_named_with_those_there_are(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    with pytest.raises(UnknownColumn, match=r'"groupBy".*"nope".*Sepal, Species'):
        await data.rows.groups(Query(text="IRIS"), reader="ANN", by=["nope"])
    with pytest.raises(UnknownColumn, match='"orderBy"'):
        await data.rows.groups(Query(text="IRIS"), reader="ANN", by=["Species"], order=["x"])


@pytest.mark.parametrize(
    ("by", "order"), [([], []), (["g"], []), (["g"], ["n"])], ids=["whole", "groups", "sorted"]
)
async def test_what_goes_wrong_among_the_rows_is_the_query_s_fault(
    data: Data, by: list[str], order: list[str]
) -> None:
    """When many rows have been read, DuckDB's own error has become another."""
    before = data.leftovers()
    late = "CASE WHEN i = 500000 THEN CAST('x' AS INT) ELSE i END"
    query = Query(text=f"SELECT i & 7 AS g, {late} AS n FROM range(1000000) t(i)")
    asked = (
        data.rows.groups(query, reader="ANN", by=by, order=order)
        if by
        else data.rows.chunks(query, reader="ANN", rows=10)
    )
    with pytest.raises(InvalidQuery, match="Could not convert string 'x' to INT32"):
        await asked
    assert data.leftovers() == before


async def test_time_that_is_up_among_the_rows_is_told_as_such(tmp_path: Path) -> None:
    """Between rows and amid them: of a large aggregate no row comes before it is done."""
    async with data_process(tmp_path, timeout_s=1) as data:
        for text in (
            "SELECT md5(i::VARCHAR) AS m FROM range(1000000000) t(i)",
            "SELECT i, (SELECT sum(j * i) FROM range(1000000) s(j)) FROM range(100000) t(i)",
        ):
            with pytest.raises((QueryTimedOut, QueryTooLarge)):
                await data.rows.whole(Query(text=text), reader="ANN")
        assert data.leftovers() == set()


async def test_two_columns_of_one_name_are_refused(data: Data) -> None:
    with pytest.raises(InvalidQuery, match='two columns named "a"'):
        await data.rows.whole(Query(text="SELECT 1 AS a, 2 AS a"), reader="ANN")


async def test_types_keep_their_meaning(data: Data) -> None:
    text = """SELECT 1::TINYINT AS i, 2::HUGEINT AS h, 1.5::FLOAT AS f, 1.25::DECIMAL(9, 2) AS d,
        'x' AS s, '\\x00'::BLOB AS b, true AS t, DATE '2026-01-02' AS day,
        TIMESTAMP '2026-01-02 03:04:05.678901' AS at,
        TIMESTAMPTZ '2026-01-02 03:04:05+02' AS zoned, TIME '01:02:03' AS clock,
        [1, NULL] AS list, {'a': 1} AS struct, 'u'::ENUM('u', 'v') AS e,
        '00000000-0000-0000-0000-000000000001'::UUID AS id, NULL AS nothing"""
    rowset = await data.rows.whole(Query(text=text), reader="ANN")
    (row,) = read(rowset)
    assert row["list"] == [1, None]
    assert row["struct"] == {"a": 1}
    assert row["e"] == "u"
    assert row["zoned"].isoformat() == "2026-01-02T01:04:05+00:00"
    assert row["nothing"] is None


@pytest.mark.parametrize(
    "column",
    [
        "date 'infinity'",
        "date '-infinity'",
        "timestamp 'infinity'",
        "timestamptz '-infinity'",
        "timestamp_s 'infinity'",
        "timestamp_ms '-infinity'",
        "timestamp_ns 'infinity'",
        "date '10000-01-01'",
        "timetz '01:02:03+02'",
        "{'inside': [timetz '01:02:03+02']}",
        "map {'inside': '101'::bit}",
        "'101'::bit",
        "12::bignum",
        "union_value(a := 1)",
    ],
)
async def test_what_cannot_be_carried_names_the_column(data: Data, column: str) -> None:
    """Else the function would be given another time, or bytes that mean nothing to it."""
    with pytest.raises(UnsupportedColumn, match='"odd"'):
        await data.rows.whole(Query(text=f"SELECT 1 AS a, {column} AS odd"), reader="ANN")


async def test_every_time_of_the_calendar_is_carried(data: Data) -> None:
    query = (
        "SELECT date '0001-01-01' AS a, timestamp '9999-12-31 23:59:59.999999' AS b,"
        " NULL::timestamptz AS c, [1, 2]::INT[2] AS d"
    )
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001  the column has no zone
    (row,) = read(await data.rows.whole(Query(text=query), reader="ANN"))
    assert row == {"a": date.min, "b": last, "c": None, "d": [1, 2]}


@pytest.mark.parametrize(
    ("form", "text"),
    [("csv", "a,b\n1,x\n,\n"), ("ndjson", '{"a": 1, "b": "x"}\n{"a": null, "b": null}\n')],
)
async def test_text_becomes_a_table_of_guessed_types(data: Data, form: str, text: str) -> None:
    table = await data.load("ANN", "T", text, form)
    assert [(column.name, column.type) for column in table.columns] == [
        ("a", "BIGINT"),
        ("b", "VARCHAR"),
    ]
    assert table.rows == 2
    preview = await data.files.preview(table.file, rows=5)
    assert preview == b'[{"a":1,"b":"x"},{"a":null,"b":null}]'


async def test_a_preview_is_json_whatever_the_numbers_are(data: Data) -> None:
    table = await data.load("ANN", "ODD", "a,b\nnan,é\ninf,\n0.1,x\n")
    shown = await data.files.preview(table.file, rows=5)
    assert shown.decode() == '[{"a":null,"b":"é"},{"a":null,"b":null},{"a":0.1,"b":"x"}]'


async def test_a_column_that_changes_late_is_text(data: Data) -> None:
    """The first rows do not decide alone: the types are guessed again over all of them."""
    text = "a\n" + "1\n" * 250_000 + "late\n"
    table = await data.load("ANN", "LATE", text)
    assert table.columns[0].type == "VARCHAR"
    assert table.rows == 250_001


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\n1,2\n3,4,5\n", 3),
        ("a,b\n1\n1,2,3\n", 2),
        ("a,b,c\n1,2,3\n4,5\n", 3),
        ("a,b\n" + "1,2\n" * 30_000 + "3\n", 30_002),
        ('a,b\n"x,1\n', 2),
    ],
    ids=["long", "both", "short", "late", "quote"],
)
async def test_a_line_that_does_not_fit_is_named_and_nothing_is_left_out(
    data: Data, text: str, line: int
) -> None:
    """A guess of the dialect would take the last such line for the header, and load no row."""
    with pytest.raises(InvalidTable, match=f"on Line: {line}\\b"):
        await data.load("ANN", "RAGGED", text)


async def test_blank_lines_before_the_header_are_no_data_and_alone_no_table(data: Data) -> None:
    table = await data.load("ANN", "T", "\ufeff\r\n \r\na,b\r\n1,2\r\n")
    assert (table.rows, [column.name for column in table.columns]) == (1, ["a", "b"])
    with pytest.raises(InvalidTable, match="blank lines alone"):
        await data.load("ANN", "T", "\n\r\n \n")


async def test_a_value_is_no_comment(data: Data) -> None:
    table = await data.load("ANN", "COLOURS", "colour,n\n#fff,1\n#000,2\n")
    preview = await data.files.preview(table.file, rows=5)
    assert preview == b'[{"colour":"#fff","n":1},{"colour":"#000","n":2}]'


@pytest.mark.parametrize("form", ["parquet", "arrow"])
async def test_binary_forms_are_loaded_as_they_are(data: Data, form: str, tmp_path: Path) -> None:
    table = pa.table({"x": [1, None, 3], "s": ["a", None, "c"]})
    path = tmp_path / "sent"
    if form == "arrow":
        with ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        # pyarrow.parquet is not needed anywhere else.
        import pyarrow.parquet as pq  # noqa: PLC0415

        pq.write_table(table, path)
    made = await data.load_file("ANN", "BINARY", path, form)
    assert made.rows == 3
    rowset = await data.rows.whole(Query(text="BINARY"), reader="ANN")
    assert read(rowset) == table.to_pylist()


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("parquet", "no parquet"),
        ("arrow", "no arrow"),
        ("ndjson", '{"a": 1}\n{"a": '),
        ("csv", ""),
        ("csv", "a,b\n1,2\n3\n" + '"unclosed'),
    ],
    ids=range(5),
)
async def test_what_is_not_in_its_form_is_refused_and_leaves_nothing(
    data: Data, form: str, text: str
) -> None:
    before = sorted(path.name for path in data.options.tables.glob("*"))
    with pytest.raises(InvalidTable) as caught:
        await data.load("ANN", "BROKEN", text, form)
    assert str(data.options.tables.parent) not in caught.value.message
    assert sorted(path.name for path in data.options.tables.glob("*")) == before


async def test_a_killed_data_process_costs_a_query_no_more_than_time(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    slow = "SELECT count(*) AS n FROM range(60000) a, range(20000) b WHERE a.range = b.range"
    query = asyncio.create_task(data.rows.whole(Query(text=slow), reader="ANN"))
    while not data.leftovers():
        await asyncio.sleep(0.01)
        if query.done():
            break
    assert data.process.pid is not None
    os.kill(data.process.pid, signal.SIGKILL)
    assert read(await query) == [{"n": 20_000}]
    assert (await data.rows.whole(Query(text="IRIS"), reader="ANN")).rows == 5


async def test_a_query_given_up_while_the_data_process_ends_harms_no_other(data: Data) -> None:
    await data.load("ANN", "IRIS", IRIS)
    for moment in range(4):
        assert data.process.pid is not None
        os.kill(data.process.pid, signal.SIGKILL)
        while data.process.pid is not None:  # noqa: ASYNC110  # of what only it knows
            await asyncio.sleep(0)
        given_up = asyncio.create_task(data.rows.whole(Query(text="IRIS"), reader="ANN"))
        for _ in range(moment + 1):
            await asyncio.sleep(0)
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        assert (await data.rows.whole(Query(text="IRIS"), reader="ANN")).rows == 5


async def test_a_cancelled_query_ends_and_leaves_nothing(data: Data) -> None:
    before = data.leftovers()
    endless = (
        "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range + b.range = 7"
    )
    query = asyncio.create_task(data.rows.whole(Query(text=endless), reader="ANN"))
    await asyncio.sleep(0.3)
    process = data.process.pid
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query
    # All places are free again: as many as there are find one at once.
    many = [data.rows.whole(Query(text="IRIS"), reader="ANN") for _ in range(8)]
    for rowset in await asyncio.gather(*many):
        await data.rows.release(rowset)
    assert data.process.pid == process
    assert data.leftovers() == before
