"""What every `TableStore` guarantees, and the catalog that queries ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fanfold_server.model.rows import ColumnType, TableGrant, TableInfo
from fanfold_server.store.sql import Store
from fanfold_server.store.sql_tables import SqlTables

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
IRIS = TableInfo(
    owner="ANN",
    name="Iris",
    file="1.duckdb",
    rows=150,
    size_bytes=1 << 40,
    columns=(ColumnType(name="größe", type="DECIMAL(9,2)"),),
    created=NOW,
)


@pytest.fixture
def tables(store: Store) -> SqlTables:
    return store.tables


async def test_a_table_comes_back_as_it_was_put(tables: SqlTables) -> None:
    assert await tables.put(IRIS) is None
    assert await tables.find("iRIS", reader="ANN") == IRIS
    assert await tables.find("IRIS", reader="ANN", owner="ANN") == IRIS
    assert await tables.files() == ["1.duckdb"]


async def test_a_table_that_is_replaced_gives_its_file_and_keeps_name_and_grants(
    tables: SqlTables,
) -> None:
    await tables.put(IRIS)
    await tables.grant("IRIS", "ANN", "BOB", NOW)
    assert await tables.put(replace(IRIS, name="IRIS", file="2.duckdb", rows=1)) == "1.duckdb"
    found = await tables.find("iris", reader="BOB", owner="ANN")
    assert found is not None
    assert (found.name, found.file, found.rows) == ("Iris", "2.duckdb", 1)
    assert await tables.files() == ["2.duckdb"]


async def test_of_many_that_put_at_once_one_is_left(tables: SqlTables) -> None:
    gone = await asyncio.gather(
        *(tables.put(replace(IRIS, file=f"{number}.duckdb")) for number in range(6))
    )
    left = await tables.files()
    assert sorted([*left, *(file for file in gone if file is not None)]) == [
        f"{number}.duckdb" for number in range(6)
    ]
    assert len(left) == 1


async def test_a_reader_sees_its_own_the_global_and_the_granted(tables: SqlTables) -> None:
    await tables.put(IRIS)
    await tables.put(replace(IRIS, owner="PYQSYS", name="GRADE", file="2.duckdb"))
    await tables.put(replace(IRIS, owner="BOB", name="a", file="3.duckdb"))
    await tables.put(replace(IRIS, owner="BOB", name="hidden", file="4.duckdb"))
    assert await tables.grant("A", "BOB", "PUBLIC", NOW)
    assert await tables.grant("A", "BOB", "PUBLIC", NOW)
    listing = [(table.owner, table.name) for table in await tables.listing("ANN")]
    assert listing == [("ANN", "Iris"), ("BOB", "a"), ("PYQSYS", "GRADE")]
    found = await tables.readable(
        "ANN",
        [
            (None, "IRIS"),
            (None, "grade"),
            ("bob", "A"),
            ("bob", "hidden"),
            (None, "a"),
            (None, "x"),
        ],
    )
    assert {(table.owner, table.name) for table in found} == set(listing)
    assert await tables.find("a", reader="ANN") is None
    assert await tables.find("hidden", reader="ANN", owner="BOB") is None


async def test_ones_own_table_comes_before_a_global_one(tables: SqlTables) -> None:
    await tables.put(replace(IRIS, owner="PYQSYS", file="2.duckdb"))
    await tables.put(IRIS)
    found = await tables.find("iris", reader="ANN")
    assert found is not None
    assert found.owner == "ANN"


async def test_grants_are_listed_and_taken_back_one_by_one(tables: SqlTables) -> None:
    await tables.put(IRIS)
    for grantee in ("PUBLIC", "ZOE", "BOB"):
        assert await tables.grant("iris", "ANN", grantee, NOW)
    assert await tables.grants("IRIS", "ANN") == [
        TableGrant(grantee="BOB"),
        TableGrant(grantee="ZOE"),
        TableGrant(grantee=None),
    ]
    assert await tables.revoke("IRIS", "ANN", "BOB")
    assert not await tables.revoke("IRIS", "ANN", "BOB")
    assert not await tables.grant("none", "ANN", "BOB", NOW)


async def test_a_dropped_table_takes_its_grants_with_it(tables: SqlTables) -> None:
    await tables.put(IRIS)
    await tables.grant("iris", "ANN", "BOB", NOW)
    assert await tables.drop("IRIS", "BOB") is None
    assert await tables.drop("IRIS", "ANN") == "1.duckdb"
    assert await tables.drop("IRIS", "ANN") is None
    await tables.put(IRIS)
    assert await tables.grants("iris", "ANN") == []
