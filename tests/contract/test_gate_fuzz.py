"""The gates, given statements that nobody would think of.

They are put together of the words of SQL, of attacks that are known, and of what separates one
from the other. What passes is run where it could write, and has changed nothing; what does not is
refused by an error of the caller's and no other. The data process, asked the same, goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold_server.model.data_source import SourceKind
from fanfold_server.model.errors import CallerError, InvalidQuery
from fanfold_server.model.rows import Query
from fanfold_server.rows import gate, statements
from tests.contract.attacks import ATTACKS, HARMLESS
from tests.contract.rows import data_process
from tests.contract.test_gate import SECRET, WRITES
from tests.contract.test_rows import read

PIECES = [
    *("SELECT", "FROM", "WHERE", "WITH", "AS", "MATERIALIZED", "UNION ALL", "VALUES", "TABLE"),
    *("DELETE FROM iris", "INSERT INTO iris VALUES (9, 'x')", "UPDATE iris SET id = 0"),
    *(
        "DROP TABLE iris",
        "CREATE TABLE taken AS",
        "CREATE TEMP TABLE t AS",
        "RETURNING *",
        "INTO t",
    ),
    *("ATTACH ':memory:' AS a", "COPY iris TO 'x'", "SET threads = 1", "PRAGMA user_version = 7"),
    *(
        "CALL pragma_version()",
        "BEGIN",
        "COMMIT",
        "EXPLAIN ANALYZE",
        "PIVOT iris ON species",
        "FROM iris",
    ),
    *(
        "*",
        "1",
        "id",
        "species",
        "'a;b'",
        "''",
        "$$ ; $$",
        '"iris"',
        "iris",
        "iris AS o",
        "x",
        "salary",
    ),
    *(
        "(",
        ")",
        ",",
        ";",
        "--",
        "\n",
        "/*",
        "*/",
        "'",
        '"',
        "$1",
        "?",
        "\\",
        "#",
        "`",
        "[",
        "]",
        "::INT",
    ),
    *(
        "nextval('s')",
        "getenv('HOME')",
        "count(*)",
        "range(3)",
        "generate_series(1, 3)",
        "read_text('x')",
    ),
    *(
        "query('DROP TABLE iris')",
        "EXISTS",
        "IN",
        "LATERAL",
        "LIMIT 1",
        "OFFSET 0",
        "é",
        "\u2028",
        "\u00a0",
    ),
]
"""Some know one database alone; the gates know no difference."""

WHOLE = st.sampled_from(
    [*ATTACKS, *WRITES, *HARMLESS, "SELECT * FROM iris", "SELECT 1 AS a", "iris"]
)
GLUE = st.sampled_from([" ", "", "\n", "/**/", " -- \n", ";", "\t"])


GOOD = st.sampled_from(["*", "1", "'a;b'", "count(*)", "[1, 2]", "(SELECT max(id) FROM iris)"])
BAD = st.sampled_from(
    [
        *("nextval('s')", "getenv('HOME')", "(SELECT max(id) FROM salary)", "EXISTS (FROM iris)"),
        *("(DELETE FROM iris RETURNING id)", "current_setting('threads')", "id", "species", "?"),
    ]
)
TABLE = st.sampled_from(
    ["iris", "iris AS o", "iris, salary", "range(3)", "(VALUES (1)) AS v(id)", '"iris"']
)
OTHER = st.sampled_from(
    [
        *("query('DROP TABLE iris')", "read_text('x')", "duckdb_tables()", "'x.csv'"),
    ]
)
TAIL = st.sampled_from(["", "WHERE true", "ORDER BY 1", "LIMIT 1", "GROUP BY ALL"])
END = st.sampled_from(["", "", "", ";", "-- ;", "UNION ALL SELECT 1", "; SELECT 2"])


@st.composite
def query(draw: st.DrawFn, depth: int = 2) -> str:
    """Draw what is nearly a SELECT, with SELECTs and worse inside."""
    is_bad = draw(st.integers(0, 9))
    source = draw(OTHER if is_bad == 1 else TABLE)
    if depth and draw(st.booleans()):
        source = f"({draw(query(depth - 1))})"
    text = f"SELECT {draw(BAD if is_bad == 2 else GOOD)} FROM {source} {draw(TAIL)}"
    if draw(st.integers(0, 3)) == 0:
        inner = draw(st.sampled_from(WRITES) if draw(st.booleans()) else query(0))
        text = f"WITH x AS {draw(st.sampled_from(['', 'MATERIALIZED ']))}({inner}) {text}"
    return text


@st.composite
def asked(draw: st.DrawFn) -> str:
    """Draw a text that has something of SQL, and mostly little sense."""
    if draw(st.booleans()):
        words = f"{draw(query())} {draw(END)}".split(" ")
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(PIECES)))
        return draw(GLUE).join(words) if draw(st.integers(0, 9)) == 0 else " ".join(words)
    parts = draw(st.lists(st.sampled_from(PIECES) | WHOLE, min_size=1, max_size=9))
    text = "".join(f"{part}{draw(GLUE)}" for part in parts)
    match draw(st.sampled_from(["as it is", "wrapped", "with", "cut"])):
        case "wrapped":
            return f"SELECT * FROM ({text})"
        case "with":
            return f"WITH x AS ({text}) SELECT * FROM x"
        case "cut":
            return text[draw(st.integers(0, 9)) :]
        case _:
            return text


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that can be written, with everything that could be changed."""
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.execute("CREATE TABLE iris (id INT, species VARCHAR)")
        connection.execute("INSERT INTO iris VALUES (1, 'setosa'), (2, 'virginica')")
        connection.execute("CREATE TABLE salary (id INT)")
        connection.execute("CREATE SEQUENCE s")
        yield connection


def _duck_state(connection: duckdb.DuckDBPyConnection) -> object:
    return [
        connection.execute(text).fetchall()
        for text in (
            "SELECT * FROM iris ORDER BY ALL",
            "SELECT database_name, schema_name, table_name FROM duckdb_tables() ORDER BY ALL",
            "SELECT view_name FROM duckdb_views() WHERE NOT internal",
            "SELECT sequence_name, last_value FROM duckdb_sequences()",
            "SELECT database_name FROM duckdb_databases() ORDER BY ALL",
            "SELECT current_setting('threads')",
        )
    ]


@given(text=asked())
@settings(max_examples=400, deadline=None)
def test_what_passes_the_gate_changes_nothing_even_where_it_could(
    text: str, duck: duckdb.DuckDBPyConnection
) -> None:
    before = _duck_state(duck)
    try:
        found = gate.inspect(duck, text)
        gate.bind(duck, found.text)
    except CallerError:
        assert _duck_state(duck) == before, "reading it has done something"
        return
    assert len(duck.extract_statements(found.text)) == 1
    run = found.text.replace("(100", "(0")  # pg_sleep is there in DuckDB, too: asleep for 0 s
    try:
        duck.execute(f"SELECT * FROM ({run}\n)").fetchall()
    except duckdb.Error as exc:
        gate.translate(exc)
    assert _duck_state(duck) == before


@given(text=asked(), kind=st.sampled_from(SourceKind))
@settings(max_examples=500, deadline=None)
def test_what_passes_the_gate_before_other_databases_is_one_statement_that_reads(
    text: str, kind: SourceKind
) -> None:
    try:
        passed = statements.inspect(kind, text)
    except InvalidQuery:
        return
    with closing(sqlite3.connect(":memory:")) as lite:
        lite.execute("CREATE TABLE iris (id INT, species TEXT)")
        lite.execute("INSERT INTO iris VALUES (1, 'setosa')")
        lite.commit()
        refusal = ""
        try:
            lite.execute(passed).fetchall()  # which takes one statement alone
        except sqlite3.Error as exc:
            refusal = str(exc)  # of another dialect, or without sense
        assert "one statement at a time" not in refusal or kind is not SourceKind.SQLITE
        assert lite.total_changes == 1
        assert lite.execute("SELECT * FROM iris").fetchall() == [(1, "setosa")]
        assert lite.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
        assert lite.execute("PRAGMA user_version").fetchone() == (0,)


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_brings_out_another_error(text: str, duck: duckdb.DuckDBPyConnection) -> None:
    for kind in SourceKind:
        try:
            statements.inspect(kind, text)
        except InvalidQuery:
            continue
    try:
        gate.bind(duck, gate.inspect(duck, text).text)
    except CallerError:
        return


def test_the_data_process_goes_on_whatever_it_is_asked(tmp_path: Path) -> None:
    with asyncio.Runner() as loop:
        opened = data_process(tmp_path, timeout_s=5)
        data = loop.run(opened.__aenter__())
        loop.run(data.load("ANN", "IRIS", "id,species\n1,setosa\n"))
        loop.run(data.load("BOB", "SALARY", f"id,name\n1,{SECRET}\n"))
        before = _files(tmp_path / "tables")
        assert before

        @given(text=asked())
        @settings(max_examples=60, deadline=None)
        def holds(text: str) -> None:
            try:
                rowset = loop.run(data.rows.whole(Query(text=text), reader="ANN"))
            except CallerError as exc:
                refusal = exc.message
            else:
                refusal = str(read(rowset))
                loop.run(data.rows.release(rowset))
            assert SECRET not in refusal
            assert _files(tmp_path / "tables") == before

        holds()
        rowset = loop.run(data.rows.whole(Query(text="SELECT * FROM IRIS"), reader="ANN"))
        assert read(rowset) == [{"id": 1, "species": "setosa"}]
        loop.run(data.rows.release(rowset))
        assert data.leftovers() == set()
        loop.run(opened.__aexit__(None, None, None))


def _files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
