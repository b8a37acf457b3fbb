"""The gate is attacked: nothing writes, reads a file or another's data, or outlives its limit."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from fanfold_server.model.errors import (
    CallerError,
    InvalidQuery,
    QueryTimedOut,
    QueryTooLarge,
    UnknownTable,
)
from fanfold_server.model.rows import Query
from tests.calm import Stopwatch
from tests.contract.rows import Data, data_process

SECRET = "s3cr3t-of-bob"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    folder = tmp_path_factory.mktemp("gate")
    (folder / "outside.csv").write_text("password\nhunter2\n")
    async with data_process(folder, timeout_s=2) as data:
        await data.load("ANN", "IRIS", "Sepal,Species\n1.5,setosa\n2.5,versicolor\n3.5,setosa\n")
        await data.load("BOB", "SALARY", f"name,pay\n{SECRET},1\n")
        await data.load("BOB", "SHARED", "x\n1\n")
        await data.load("PYQSYS", "GRADE", "NAME,SCORE\nAbbott,90\n")
        data.catalog.grants.add((("BOB", "shared"), "ANN"))
        yield data


pytestmark = pytest.mark.asyncio(loop_scope="module")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


WRITES = [
    "DROP TABLE IRIS",
    "DELETE FROM IRIS",
    "DELETE FROM IRIS RETURNING *",
    "UPDATE IRIS SET Sepal = 0",
    "INSERT INTO IRIS VALUES (1, 'x')",
    "INSERT INTO IRIS SELECT * FROM IRIS RETURNING *",
    "TRUNCATE IRIS",
    "ALTER TABLE IRIS ADD COLUMN x INT",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW IRIS AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "CREATE SEQUENCE s",
    "CREATE SECRET x (TYPE s3)",
    "WITH x AS (DELETE FROM IRIS RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM fanfold_0.main.fanfold_rows RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO IRIS VALUES (9, 'x') RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE IRIS SET Sepal = 0 RETURNING *) SELECT * FROM x",
    "SELECT * FROM (WITH x AS (DELETE FROM IRIS RETURNING *) SELECT * FROM x)",
    "WITH x AS MATERIALIZED (DELETE FROM IRIS RETURNING *) SELECT * FROM IRIS",
    "WITH x AS (CREATE TABLE t AS SELECT 1) SELECT 1",
    "WITH x AS (DELETE FROM IRIS RETURNING *) SELECT 1",
    "WITH x AS (INSERT INTO IRIS VALUES (9, 'x') RETURNING *) SELECT * FROM IRIS",
    "WITH x AS (UPDATE IRIS SET Sepal = 0 RETURNING *) SELECT 1 UNION SELECT 2",
    "WITH x AS (WITH y AS (DELETE FROM IRIS RETURNING *) SELECT 1) SELECT * FROM IRIS",
    "MERGE INTO IRIS USING IRIS AS o ON true WHEN MATCHED THEN DELETE",
    "SELECT 1) ; DELETE FROM IRIS; SELECT * FROM (SELECT 1",
    "SELECT 1; DROP TABLE IRIS",
    "SELECT 1; SELECT 2",
    "/* one */ SELECT 1; -- two\nDELETE FROM IRIS",
    "SELECT nextval('s')",
    "VACUUM",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint('fanfold_0')",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "EXPLAIN ANALYZE DELETE FROM IRIS",
    "PREPARE p AS DELETE FROM IRIS",
    "EXECUTE p",
    "CALL pragma_version()",
]

FILES = [
    "COPY IRIS TO '{folder}/stolen.csv'",
    "COPY (SELECT 1) TO '{folder}/stolen.parquet' (FORMAT parquet)",
    "WITH x AS (COPY IRIS TO '{folder}/stolen.csv') SELECT 1",
    "COPY IRIS FROM '{folder}/outside.csv'",
    "EXPORT DATABASE '{folder}/stolen'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/x.duckdb'",
    "ATTACH '{salary}' AS b (READ_ONLY)",
    "DETACH fanfold_0",
    "SELECT * FROM '{folder}/outside.csv'",
    "FROM '{folder}/outside.csv'",
    'SELECT * FROM "{folder}/outside.csv"',
    "SELECT * FROM '{salary}'",
    "SELECT * FROM read_csv('{folder}/outside.csv')",
    "SELECT * FROM read_csv_auto('{folder}/outside.csv')",
    "SELECT * FROM main.read_csv('{folder}/outside.csv')",
    "SELECT * FROM system.main.read_csv('{folder}/outside.csv')",
    "SELECT * FROM \"READ_CSV\"('{folder}/outside.csv')",
    "SELECT * FROM read_text('{folder}/outside.csv')",
    "SELECT * FROM read_blob('{salary}')",
    "SELECT * FROM read_duckdb('{salary}')",
    "SELECT * FROM read_json('{folder}/outside.csv')",
    "SELECT * FROM read_parquet('{folder}/x.parquet')",
    "SELECT * FROM parquet_scan('{folder}/x.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/x.parquet')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM sniff_csv('{folder}/outside.csv')",
    "SELECT * FROM IRIS, LATERAL (SELECT * FROM read_text('{folder}/outside.csv'))",
    "SELECT (SELECT content FROM read_text('{folder}/outside.csv'))",
    "SELECT 1 FROM IRIS ORDER BY (SELECT content FROM read_text('{folder}/outside.csv'))",
    "SELECT 1 LIMIT (SELECT count(*) FROM glob('{folder}/*'))",
    "SELECT * FROM query('SELECT * FROM read_text(''{folder}/outside.csv'')')",
    "SELECT * FROM query_table('{folder}/outside.csv')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM 'https://127.0.0.1:1/x.csv'",
    "SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "SET VARIABLE x = 1",
    "USE system",
]

ENGINE = [
    # These take a pointer, and would read any memory of the process.
    "SELECT * FROM arrow_scan(1::UBIGINT, 1::UBIGINT, 1::UBIGINT)",
    "SELECT * FROM arrow_scan_dumb(1::UBIGINT, 1::UBIGINT, 1::UBIGINT)",
    "SELECT * FROM pandas_scan(1::UBIGINT)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM python_arrow_scan(1)",
    "SELECT * FROM seq_scan('IRIS')",
    # Python's variables in the frames that call DuckDB.
    "SELECT * FROM request",
    "SELECT * FROM tables",
    "SELECT * FROM self",
    "SELECT * FROM connection",
    # What tells of the server.
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('PATH')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_databases",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_logs",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('IRIS')",
    "SELECT * FROM which_secret('x', 's3')",
    "SELECT write_log('x')",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "DESCRIBE IRIS",
    "SUMMARIZE IRIS",
    "SELECT * FROM (DESCRIBE IRIS)",
    "SELECT * FROM (SHOW ALL TABLES)",
    # What is no query.
    "",
    ";",
    "  -- nothing",
    "SELECT",
    "SELECT ?",
    "SELECT $1",
    "SELECT 1\x00",
    "SELECT '\ud800'",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT * FROM " + "(SELECT * FROM " * 2_000 + "IRIS" + ")" * 2_000,
    "SELECT '" + "x" * 70_000 + "'",
]

ANOTHERS = [
    "SALARY",
    "BOB.SALARY",
    '"BOB"."SALARY"',
    "SELECT * FROM SALARY",
    "SELECT * FROM BOB.SALARY",
    "SELECT * FROM bob.salary",
    'SELECT * FROM "bob"."salary"',
    "SELECT * FROM memory.BOB.SALARY",
    "SELECT * FROM BOB.main.SALARY",
    "SELECT * FROM fanfold_0.main.fanfold_rows",
    "SELECT * FROM IRIS, fanfold_1.main.fanfold_rows",
    "SELECT * FROM BOB.SHARED, fanfold_1.main.fanfold_rows",
    "FROM BOB.SALARY",
    "TABLE BOB.SALARY",
    "WITH x AS (SELECT * FROM BOB.SALARY) SELECT * FROM x",
    "WITH SALARY AS (SELECT * FROM BOB.SALARY) SELECT * FROM SALARY",
    "SELECT (SELECT name FROM BOB.SALARY)",
    "SELECT * FROM IRIS WHERE EXISTS (FROM BOB.SALARY)",
    "SELECT * FROM IRIS UNION ALL SELECT pay, name FROM BOB.SALARY",
    "SELECT * FROM IRIS JOIN BOB.SALARY ON true",
    "SELECT * FROM IRIS, LATERAL (FROM BOB.SALARY)",
    "SELECT * FROM IRIS ORDER BY (SELECT pay FROM BOB.SALARY)",
    "SELECT sum(Sepal) OVER (PARTITION BY (SELECT pay FROM BOB.SALARY)) FROM IRIS",
    "SELECT * FROM query('FROM BOB.SALARY')",
    "SELECT * FROM query_table('BOB.SALARY')",
    "SELECT * FROM query_table(['BOB.SALARY'])",
    "SELECT * FROM IRIS PIVOT (sum(Sepal) FOR Species IN (SELECT name FROM BOB.SALARY))",
    "PIVOT BOB.SALARY ON name USING sum(pay)",
    "UNPIVOT BOB.SALARY ON pay",
    "DESCRIBE BOB.SALARY",
    "SELECT list_transform([1], x -> (SELECT pay FROM BOB.SALARY))",
    "WITH RECURSIVE r AS (SELECT 1 a UNION ALL SELECT pay FROM BOB.SALARY, r) FROM r",
    "SELECT * FROM BOB.SALARY AT (VERSION => 1)",
    "SELECT histogram_values('BOB.SALARY', 'pay')",
    "SELECT * FROM histogram('BOB.SALARY', 'pay')",
]


@pytest.mark.parametrize("text", WRITES + ENGINE, ids=range(len(WRITES + ENGINE)))
async def test_what_is_not_one_harmless_select_is_refused(data: Data, text: str) -> None:
    await assert_refused(data, text)


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
async def test_no_file_is_read_or_written(data: Data, text: str) -> None:
    folder = data.options.tables.parent
    salary = data.options.tables / data.catalog.tables["BOB", "salary"].file
    await assert_refused(
        data, text.replace("{folder}", str(folder)).replace("{salary}", str(salary))
    )
    assert {path.name for path in folder.iterdir()} == {"outside.csv", "scratch", "tables"}


async def test_who_names_a_file_is_told_how_its_rows_get_here(data: Data) -> None:
    message = await assert_refused(data, "select * from 'waits.csv'")
    assert message.startswith('The query names the file "waits.csv", and it has to name tables')


@pytest.mark.parametrize("text", ANOTHERS, ids=range(len(ANOTHERS)))
async def test_anothers_table_is_not_there(data: Data, text: str) -> None:
    message = await assert_refused(data, text)
    assert SECRET not in message


async def assert_refused(data: Data, text: str) -> str:
    """A clear error, nothing changed, nothing left; and the process is the one it was."""
    await data.rows.release(await data.rows.whole(Query(text="IRIS"), reader="ANN"))
    process, before = data.process.pid, contents(data.options.tables)
    with pytest.raises(CallerError) as caught:
        await data.rows.release(await data.rows.whole(Query(text=text), reader="ANN"))
    assert isinstance(caught.value, InvalidQuery | UnknownTable), caught.value
    assert contents(data.options.tables) == before
    assert data.process.pid == process
    assert data.leftovers() == set()
    assert "fanfold_0" not in caught.value.message or "fanfold_0" in text
    assert str(data.options.tables) not in caught.value.message or str(data.options.tables) in text
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("IRIS", 3),
        (" iris ; ", 3),
        ('"IRIS"', 3),
        ("ann.iris", 3),
        ("GRADE", 1),
        ("PYQSYS.GRADE", 1),
        ("BOB.SHARED", 1),
        ("bob.shared", 1),
        ("select * from IRIS; -- all of it", 3),
        ("select * from IRIS -- ;", 3),
        ("/* ; */ select ';' from IRIS ; ;", 3),
        ("SELECT 'DELETE FROM IRIS; COPY x TO y' FROM IRIS", 3),
        ("FROM IRIS WHERE Species = 'setosa'", 2),
        ("VALUES (1), (2)", 2),
        ("WITH x AS (SELECT * FROM IRIS) SELECT * FROM x UNION ALL SELECT * FROM x", 6),
        ("SELECT Species, avg(Sepal) FROM IRIS GROUP BY ALL", 2),
        ("SELECT * FROM range(10)", 10),
        ("SELECT unnest([1, 2, 3])", 3),
        ("SELECT * FROM IRIS, BOB.SHARED, GRADE", 3),
        ("SELECT * FROM IRIS PIVOT (sum(Sepal) FOR Species IN ('setosa', 'versicolor'))", 1),
        ("select 'é ü 漢;字' as \"größe\" from IRIS; -- ende", 3),
        ("SELECT * FROM IRIS WHERE false", 0),
    ],
    ids=range(22),
)
async def test_what_is_one_select_of_ones_own_passes(data: Data, text: str, rows: int) -> None:
    rowset = await data.rows.whole(Query(text=text), reader="ANN")
    assert rowset.rows == rows
    await data.rows.release(rowset)


async def test_a_grant_is_for_its_grantee(data: Data) -> None:
    with pytest.raises(UnknownTable):
        await data.rows.whole(Query(text="BOB.SHARED"), reader="EVE")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 7",
        "WITH RECURSIVE r AS (SELECT 1 a UNION ALL SELECT a + 1 FROM r) SELECT max(a) FROM r",
        "SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000) b",
        "SELECT regexp_matches(repeat('a', 5000000) || range, '(a*)*b') FROM range(100000)",
    ],
    ids=range(4),
)
async def test_no_query_outlives_its_limit(data: Data, text: str) -> None:
    watch = Stopwatch()
    with pytest.raises((QueryTimedOut, QueryTooLarge)):
        await data.rows.whole(Query(text=text), reader="ANN")
    assert watch.counted_s() < 20
    assert data.leftovers() == set()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT list(range) FROM range(1000000000)",
        "SELECT repeat('x', 1000000000) || range::VARCHAR FROM range(1000)",
        "SELECT a.range, b.range AS b FROM range(100000) a, range(100000) b",
        "SELECT a.range FROM range(100000) a, range(100000) b ORDER BY hash(a.range)",
    ],
    ids=range(4),
)
async def test_no_query_takes_more_room_than_its_limit(data: Data, text: str) -> None:
    with pytest.raises((QueryTimedOut, QueryTooLarge)):
        await data.rows.whole(Query(text=text), reader="ANN")
    assert data.leftovers() == set()
    await data.rows.release(await data.rows.whole(Query(text="IRIS"), reader="ANN"))
