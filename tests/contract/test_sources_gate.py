"""What no statement may do to a database of others, by each adapter and by the gate before it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import pytest_asyncio
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from fanfold_server.model.data_source import SourceKind
from fanfold_server.model.errors import (
    CallerError,
    SourceUnavailable,
    UnsupportedColumn,
)
from fanfold_server.model.rows import Query
from fanfold_server.rows.session import Broken, Refused, Target
from tests.contract.attacks import ATTACKS, HARMLESS
from tests.contract.external import PASSWORD, Sources, fill_postgres, libpq, opened, register_all
from tests.contract.postgres import Postgres, started
from tests.contract.test_rows import read

TAKEN = Path("/tmp/fanfold-taken")
"""What would be there if a file could be written."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sources(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> AsyncIterator[Sources]:
    folder = tmp_path_factory.mktemp("gate")
    async with opened(folder, timeout_s=20) as sources:
        await register_all(sources, folder, postgres)
        yield sources


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def whole(sources: Sources, kind: str, asked: str) -> list[dict[str, Any]]:
    rowset = await sources.rows.whole(Query(text=asked, source=kind), reader="ANN")
    found = read(rowset)
    await sources.rows.release(rowset)
    return found


@pytest.mark.parametrize("kind", ["SQLITE", "POSTGRESQL", "SQLALCHEMY"])
async def test_no_attack_changes_anything_or_tells_anything(sources: Sources, kind: str) -> None:
    before = await whole(sources, kind, "SELECT * FROM iris ORDER BY id")
    for asked in ATTACKS:
        if asked in HARMLESS:
            continue
        with pytest.raises(CallerError):
            await whole(sources, kind, asked)
    assert await whole(sources, kind, "SELECT * FROM iris ORDER BY id") == before
    assert not await asyncio.to_thread(TAKEN.exists)


# -------------------------------------------------- without the gate: each adapter by itself

WRITES = [a for a in ATTACKS if "DELETE" in a or "iris" in a or "taken" in a or "naughty" in a]


@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [("SQLITE", "sqlite", "SqliteSession"), ("POSTGRESQL", "postgres", "PostgresSession")],
)
async def test_an_adapter_alone_lets_nothing_be_written(
    sources: Sources, kind: str, module: str, name: str
) -> None:
    """The gate reads words; that nothing can be written does not rest on it."""
    make = getattr(import_module(f"fanfold_server.rows.{module}"), name)
    access = sources.directory.sources[kind]
    before = await whole(sources, kind, "SELECT * FROM iris ORDER BY id")

    def attack(asked: str) -> None:
        session = make(Target(url=access.source.url, password=access.password, seconds=5))
        session.open()
        try:
            list(session.run(asked))
        except (Broken, Refused, CallerError, UnicodeEncodeError, ValueError):
            pass
        finally:
            session.close()

    for asked in WRITES:
        if "\x00" not in asked and "FOR UPDATE" not in asked:
            await asyncio.to_thread(attack, asked)
    assert await whole(sources, kind, "SELECT * FROM iris ORDER BY id") == before
    assert not await asyncio.to_thread(TAKEN.exists)


async def test_a_superuser_is_no_reader(sources: Sources, postgres: Postgres) -> None:
    url = postgres.make_database()
    sources.directory.register("ROOT", SourceKind.POSTGRESQL, libpq(url))
    with pytest.raises(SourceUnavailable, match="superuser"):
        await whole(sources, "ROOT", "SELECT 1 AS a")
    with pytest.raises(SourceUnavailable, match="superuser"):
        await sources.prober.probe(sources.directory.sources["ROOT"])


@pytest.mark.parametrize("before", ["SQLITE", "POSTGRESQL"])
async def test_a_database_can_be_tried_whichever_was_read_before(
    sources: Sources, before: str
) -> None:
    """The driver may be there before the request or not: its memory is not the query's."""
    for kind in ("POSTGRESQL", "SQLALCHEMY", "SQLITE"):
        await whole(sources, before, "iris")
        await sources.prober.probe(sources.directory.sources[kind])


# ------------------------------------------------------------------------------------- types


async def test_types_of_postgresql_keep_their_meaning(sources: Sources) -> None:
    asked = """SELECT 1::smallint AS i, 2::bigint AS b, 1.5::real AS f, 1.25::numeric(9, 2) AS d,
        sum(2) AS total, 'x'::char(2) AS c, '\\x00'::bytea AS raw, true AS t,
        date '2026-01-02' AS day, timestamp '2026-01-02 03:04:05.678901' AS at,
        timestamptz '2026-01-02 03:04:05+02' AS zoned, time '01:02:03' AS clock,
        array[1, NULL] AS list, '{"a": 1}'::jsonb AS doc,
        '00000000-0000-0000-0000-000000000001'::uuid AS id, NULL AS nothing, 'NaN'::numeric AS nan
        """
    row: dict[str, Any] = {}
    for kind in ("POSTGRESQL", "SQLALCHEMY"):
        text = (
            asked
            if kind == "POSTGRESQL"
            else asked.replace("array[1, NULL]", "1")
            .replace("'{\"a\": 1}'::jsonb", "'{\"a\": 1}'")
            .replace("'\\x00'::bytea", "decode('00', 'hex')")
            .replace(", 'NaN'::numeric AS nan", "")
        )
        (row,) = await whole(sources, kind, text)
        assert row["d"] == Decimal("1.25")
        assert (row["i"], row["b"], row["f"], row["total"]) == (1, 2, 1.5, 2.0)
        assert (row["raw"], row["t"], row["doc"]) == (b"\x00", True, '{"a": 1}')
        assert row["at"].isoformat() == "2026-01-02T03:04:05.678901"
        assert row["zoned"].isoformat() == "2026-01-02T01:04:05+00:00"
        assert (str(row["day"]), str(row["clock"])) == ("2026-01-02", "01:02:03")
        assert row["id"] == "00000000-0000-0000-0000-000000000001"
        assert row["nothing"] is None
    grouped = await sources.rows.groups(
        Query(text=asked, source="POSTGRESQL"), reader="ANN", by=["zoned", "d"]
    )
    assert grouped.keys == ("2026-01-02 01:04:05+00_1.25",)
    (again,) = read(grouped)
    assert (again["d"], again["zoned"].isoformat()) == (row["d"], row["zoned"].isoformat())
    await sources.rows.release(grouped)


@pytest.mark.parametrize(
    "column",
    ["'1.2.3.4'::inet", "point '(1,2)'", "row(1, 'x')", "timestamptz 'infinity'",
     "date '-infinity'", "9007199254740993::numeric", "'NaN'::numeric(9, 2)",
     "1::numeric(60, 2)", "array[1.5]", "timetz '01:02:03+02'"],
)  # fmt: skip
async def test_what_cannot_be_carried_names_the_column(sources: Sources, column: str) -> None:
    with pytest.raises(UnsupportedColumn, match='"odd"'):
        await whole(sources, "POSTGRESQL", f"SELECT 1 AS a, {column} AS odd")
    assert await sources.leftovers() == set()


async def test_types_of_sqlite_are_those_of_its_values(sources: Sources, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "odd.db")
    connection.execute("CREATE TABLE t (n, late, big, mixed, empty)")
    rows = [(i, None, i, i, None) for i in range(3000)] + [(0.5, "late", 2**62, "x", None)]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    sources.directory.register("ODD", SourceKind.SQLITE, f"sqlite:///{tmp_path / 'odd.db'}")
    found = await whole(sources, "ODD", "SELECT n, late, big, empty FROM t")
    assert [row["n"] for row in found] == [float(row[0]) for row in rows]
    assert [row["late"] for row in found] == [row[1] for row in rows]
    assert (found[-1]["big"], found[0]["empty"]) == (2**62, None)
    with pytest.raises(UnsupportedColumn, match='"mixed" holds values of several types'):
        await whole(sources, "ODD", "SELECT mixed FROM t")
    with pytest.raises(UnsupportedColumn, match='"both"'):
        await whole(sources, "ODD", "SELECT n + 0.0 AS both FROM t WHERE n < 9 "
                    "UNION ALL SELECT 9007199254740993")  # fmt: skip
    assert await sources.leftovers() == set()


# ------------------------------------------------------------------------- when it goes away


@pytest.fixture(scope="module")
def mortal() -> Any:
    """A database that a test may kill."""
    with started() as server:
        yield server


async def test_a_database_that_dies_in_mid_query_is_named(tmp_path: Path, mortal: Postgres) -> None:
    url = await asyncio.to_thread(fill_postgres, mortal)
    async with opened(tmp_path, timeout_s=30) as sources:
        sources.directory.register("PG", SourceKind.POSTGRESQL, libpq(url), PASSWORD)
        await whole(sources, "PG", "iris")
        asked = "SELECT count(*) AS n FROM generate_series(1, 100000000000) a"
        task = asyncio.create_task(whole(sources, "PG", asked))
        await _runs(mortal)
        mortal.kill(signal.SIGQUIT)
        with pytest.raises(SourceUnavailable, match='"PG" cannot be read'):
            await task
        with pytest.raises(SourceUnavailable) as refused:
            await whole(sources, "PG", "iris")
        assert PASSWORD not in str(refused.value)
        mortal.start()
        assert await whole(sources, "PG", "iris")
        assert await sources.leftovers() == set()


async def _runs(server: Postgres) -> None:
    """Wait until a long query is under way."""
    engine = create_engine(server.url, poolclass=NullPool)
    asked = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (%generate_series%'")
    for _ in range(400):
        with engine.connect() as connection:
            if connection.execute(asked).scalar_one():
                engine.dispose()
                return
        await asyncio.sleep(0.05)
    raise AssertionError("the query did not start")


async def test_a_reading_process_that_dies_is_told_and_replaced(
    sources: Sources, postgres: Postgres
) -> None:
    forever = "SELECT count(*) AS n FROM generate_series(1, 100000000000) a"
    task = asyncio.create_task(whole(sources, "POSTGRESQL", forever))
    await _runs(postgres)
    for process in _reading():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(SourceUnavailable, match="may be sent again"):
        await task
    assert await whole(sources, "POSTGRESQL", "iris")
    assert await sources.leftovers() == set()


def _reading() -> list[psutil.Process]:
    """List the processes that read, also one that waits for a query."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # also: it has ended, and nobody has noticed yet
            if "fanfold_server.rows.reading" in " ".join(child.cmdline()):
                found.append(child)
    return found


# ---------------------------------------------------------------------------------- secrets


async def test_a_password_is_in_no_error_no_argument_and_no_environment(
    sources: Sources, capfd: pytest.CaptureFixture[str]
) -> None:
    access = sources.directory.sources["POSTGRESQL"]
    sources.directory.register(
        "WRONG", SourceKind.POSTGRESQL, f"{access.source.url}&port=x{quote(PASSWORD)}", PASSWORD
    )
    with pytest.raises(SourceUnavailable) as refused:
        await whole(sources, "WRONG", "iris")
    assert PASSWORD not in repr(refused.value)
    assert "***" in refused.value.message
    task = asyncio.create_task(
        whole(sources, "POSTGRESQL", "SELECT count(*) AS n FROM generate_series(1, 100000000000) a")
    )
    for _ in range(40):
        await asyncio.sleep(0.02)
        for process in _reading():
            with suppress(psutil.AccessDenied, psutil.NoSuchProcess):
                assert PASSWORD not in " ".join(process.cmdline())
                assert PASSWORD not in str(process.environ())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert PASSWORD not in repr(access)
    shown = capfd.readouterr()
    assert PASSWORD not in shown.out + shown.err
