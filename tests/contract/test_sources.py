"""What every source of rows guarantees, whichever database its rows come from."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fanfold_server.model.errors import (
    InvalidQuery,
    QueryTimedOut,
    QueryTooLarge,
    UnknownColumn,
    UnknownSource,
)
from fanfold_server.model.rows import Query, Rowset
from tests.contract.external import IRIS, Sources, opened, register_all
from tests.contract.postgres import Postgres
from tests.contract.test_rows import calls, read

KINDS = ("EMBEDDED", "SQLITE", "POSTGRESQL", "SQLALCHEMY")
EXTERNAL = KINDS[1:]
FOREVER = {
    "EMBEDDED": "SELECT count(*) AS n FROM range(100000000000) a",
    "SQLITE": "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) "
    "SELECT count(*) AS n FROM c",
    "POSTGRESQL": "SELECT count(*) AS n FROM generate_series(1, 100000000000) a",
    "SQLALCHEMY": "SELECT count(*) AS n FROM generate_series(1, 100000000000) a",
}
MANY = {
    "EMBEDDED": "SELECT range AS n, repeat('x', 100) AS t FROM range({rows})",
    "SQLITE": "WITH RECURSIVE c(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM c "
    "WHERE n + 1 < {rows}) SELECT n, printf('%.100c', 'x') AS t FROM c",
    "POSTGRESQL": "SELECT n::bigint, repeat('x', 100) AS t FROM generate_series(0, {rows} - 1) n",
    "SQLALCHEMY": "SELECT n::bigint, repeat('x', 100) AS t FROM generate_series(0, {rows} - 1) n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sources(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> AsyncIterator[Sources]:
    folder = tmp_path_factory.mktemp("sources")
    async with opened(folder, rowset_mib=8, timeout_s=20) as sources:
        await register_all(sources, folder, postgres)
        yield sources


pytestmark = pytest.mark.asyncio(loop_scope="module")
each = pytest.mark.parametrize("kind", KINDS)


async def whole(sources: Sources, kind: str, text: str) -> list[dict[str, Any]]:
    rowset = await sources.rows.whole(Query(text=text, source=kind), reader="ANN")
    found = read(rowset)
    await sources.rows.release(rowset)
    return found


@each
async def test_rows_come_as_they_are(sources: Sources, kind: str) -> None:
    rows = await whole(sources, kind, "SELECT * FROM iris ORDER BY id")
    expected = [(*row[:3], None if kind == "EMBEDDED" and row[3] == "" else row[3]) for row in IRIS]
    assert [tuple(row.values()) for row in rows] == expected
    assert await sources.leftovers() == set()


@each
@pytest.mark.parametrize("name", ["iris", " IRIS ; "])
async def test_a_table_s_bare_name_is_a_query(sources: Sources, kind: str, name: str) -> None:
    assert len(await whole(sources, kind, name)) == len(IRIS)


@each
@pytest.mark.parametrize("size", [1, 4, 6, 1000])
async def test_chunks_keep_the_query_s_order(sources: Sources, kind: str, size: int) -> None:
    query = Query(text="SELECT id FROM iris ORDER BY id DESC -- last\n;", source=kind)
    rowset = await sources.rows.chunks(query, reader="ANN", rows=size)
    cut = calls(rowset)
    assert [len(chunk) for chunk in cut][:-1] == [size] * (len(cut) - 1)
    assert [row["id"] for chunk in cut for row in chunk] == [6, 5, 4, 3, 2, 1]
    assert rowset.offsets is not None
    assert {path.stat().st_mode & 0o777 for path in (rowset.path, rowset.offsets)} == {0o400}
    await sources.rows.release(rowset)
    assert await sources.leftovers() == set()


@each
async def test_groups_and_their_keys_are_the_same(sources: Sources, kind: str) -> None:
    """Databases differ in where nulls sort and in which order texts are; groups do not."""
    query = Query(text="SELECT id, species, sepal FROM iris ORDER BY id", source=kind)
    rowset = await sources.rows.groups(query, reader="ANN", by=["SPECIES"])
    assert rowset.keys == ("setosa", "versicolor", "virginica", "null")
    found = [[row["id"] for row in group] for group in calls(rowset)]
    assert found == [[1, 3, 6], [2], [5], [4]]
    await sources.rows.release(rowset)
    broken = await sources.rows.groups(query, reader="ANN", by=["species"], order=["sepal"])
    assert broken.keys == ("setosa_1", "null_1", "versicolor_1", "setosa_2", "virginica_1")
    await sources.rows.release(broken)
    within = await sources.rows.groups(
        query, reader="ANN", by=["species"], order=["Sepal"], order_within=True
    )
    assert [row["id"] for row in calls(within)[0]] == [3, 1, 6]
    await sources.rows.release(within)
    assert await sources.leftovers() == set()


@each
async def test_no_rows_make_no_chunk_and_no_group_but_one_whole(
    sources: Sources, kind: str
) -> None:
    query = Query(text="SELECT id, species FROM iris WHERE id > 99", source=kind)
    chunks = await sources.rows.chunks(query, reader="ANN", rows=2)
    assert chunks.calls == 0
    groups = await sources.rows.groups(query, reader="ANN", by=["species"])
    assert (groups.calls, groups.keys) == (0, ())
    empty = await sources.rows.whole(query, reader="ANN")
    assert (empty.rows, empty.columns, calls(empty)) == (0, ("id", "species"), [[]])
    for rowset in (chunks, groups, empty):
        await sources.rows.release(rowset)


@each
async def test_more_rows_than_a_batch_come_whole_and_in_order(sources: Sources, kind: str) -> None:
    text = MANY[kind].format(rows=60_000)
    rowset = await sources.rows.chunks(Query(text=text, source=kind), reader="ANN", rows=7)
    assert rowset.calls == math.ceil(60_000 / 7)
    assert [row["n"] for row in read(rowset)] == list(range(60_000))
    await sources.rows.release(rowset)


@each
async def test_a_result_over_the_limit_is_refused_with_the_limit(
    sources: Sources, kind: str
) -> None:
    with pytest.raises(QueryTooLarge, match="more than 8 MiB"):
        await whole(sources, kind, MANY[kind].format(rows=300_000))
    assert await sources.leftovers() == set()


@each
@pytest.mark.parametrize("verb", ["whole", "chunks", "groups"])
async def test_what_is_wrong_with_a_query_is_named(sources: Sources, kind: str, verb: str) -> None:
    async def ask(text: str) -> Rowset:
        query = Query(text=text, source=kind)
        match verb:
            case "whole":
                return await sources.rows.whole(query, reader="ANN")
            case "chunks":
                return await sources.rows.chunks(query, reader="ANN", rows=2)
            case _:
                return await sources.rows.groups(query, reader="ANN", by=["a"])

    with pytest.raises(InvalidQuery, match="nope"):
        await ask("SELECT nope FROM iris")
    with pytest.raises(InvalidQuery, match='two columns named "a"'):
        await ask("SELECT 1 AS a, 2 AS a")
    with pytest.raises(InvalidQuery):
        await ask("SELEKT 1")
    assert await sources.leftovers() == set()


@each
async def test_an_unknown_column_is_named_with_those_there_are(sources: Sources, kind: str) -> None:
    query = Query(text="SELECT id, species FROM iris", source=kind)
    with pytest.raises(UnknownColumn, match=r'"groupBy".*"nope".*id, species'):
        await sources.rows.groups(query, reader="ANN", by=["nope"])
    with pytest.raises(UnknownColumn, match='"orderBy"'):
        await sources.rows.groups(query, reader="ANN", by=["id"], order=["x"])
    assert await sources.leftovers() == set()


@each
async def test_a_query_that_nobody_waits_for_ends(sources: Sources, kind: str) -> None:
    query = Query(text=FOREVER[kind], source=kind)
    task = asyncio.create_task(sources.rows.whole(query, reader="ANN"))
    await asyncio.sleep(0.5)  # so that it runs; sooner does no harm
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await sources.leftovers() == set()
    assert len(await whole(sources, kind, "iris")) == len(IRIS)


async def test_a_query_ends_at_its_limit(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> None:
    folder = tmp_path_factory.mktemp("limit")
    async with opened(folder, timeout_s=1.5) as sources:
        await register_all(sources, folder, postgres)
        for kind in KINDS:
            with pytest.raises(QueryTimedOut, match=r"1\.5 s"):
                await whole(sources, kind, FOREVER[kind])


async def test_an_unknown_database_is_named(sources: Sources) -> None:
    with pytest.raises(UnknownSource, match="NOPE"):
        await whole(sources, "NOPE", "SELECT 1 AS a")


async def test_who_names_no_database_gets_the_default(sources: Sources) -> None:
    sources.directory.defaults["BEN"] = "SQLITE"
    found = await sources.rows.whole(Query(text="SELECT sqlite_version() AS v"), reader="BEN")
    assert read(found)
    await sources.rows.release(found)
    embedded = Query(text="SELECT 1::HUGEINT AS v", source="EMBEDDED")
    ours = await sources.rows.whole(embedded, reader="BEN")
    assert read(ours) == [{"v": 1}]
    await sources.rows.release(ours)


async def test_no_more_queries_than_connections(sources: Sources) -> None:
    """Two at once would take no longer than one; one after the other they both come."""
    taken = sources.directory.sources["SQLITE"].source
    sources.directory.register("ONE", taken.kind, taken.url, max_connections=1)
    forever = asyncio.create_task(whole(sources, "ONE", FOREVER["SQLITE"]))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(whole(sources, "ONE", "iris"))
    done, _ = await asyncio.wait({second}, timeout=1)
    assert not done
    forever.cancel()
    assert len(await second) == len(IRIS)
