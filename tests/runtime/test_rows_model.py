"""From a table to the answer, against a plain pandas-free model: every row once, in its place.

The whole way: the data process answers the query, the engine's workers get their slices, the fold
puts the answer together. Tables are random: nulls, duplicates, unicode, mixed types.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold_server.engine.local import LocalEngine
from fanfold_server.model.apply import (
    Chunks,
    Groups,
    Input,
    Split,
    Whole,
)
from fanfold_server.model.outcome import Failed
from fanfold_server.model.rows import InputType, Query
from fanfold_server.service.applying import Applying
from tests.contract.rows import Data, data_process
from tests.fakes.words import apply_of, script_of
from tests.runtime.test_rows import PLACE, engine

__all__ = ["engine"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

few = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
numbers = count()

_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
Row = tuple[Any, ...]
rows_of = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["a", "b", "a_1", "Ünï", "null"]) | _text,
        st.none() | st.integers(-2, 2),
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    ),
    max_size=30,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    async with data_process(tmp_path_factory.mktemp("data")) as process:
        yield process


def table_of(rows: list[Row]) -> Any:
    ids = pa.array(range(len(rows)), pa.int64())
    columns = list(zip(*rows, strict=True)) or [()] * 5
    kinds = (pa.string(), pa.int32(), pa.bool_(), pa.int64(), pa.date32())
    arrays = [pa.array(c, kind) for c, kind in zip(columns, kinds, strict=True)]
    return pa.table([ids, *arrays], names=["id", "k", "n", "b", "wide", "day"])


async def load(data: Data, rows: list[Row]) -> str:
    """Load a table; gives its name."""
    name = f"T{next(numbers)}"
    path: Path = data.options.scratch / "sent.parquet"
    await asyncio.to_thread(pq.write_table, table_of(rows), path)
    await data.load_file("ALICE", name, path, "parquet")
    return name


async def answer(engine: LocalEngine, data: Data, name: str, split: Split, body: str) -> Any:
    source = f"def f(rows):\n    return {body}\n"
    given = Input(query=Query(text=f"select * from {name}"), type=InputType.DATAFRAME)
    apply = apply_of(script_of(source), split, environment=PLACE, rows=given)
    applying = Applying(engine=engine, timeout_s=60, max_answer_bytes=1 << 30, rows=data.rows)
    pieces = await applying.run(apply, asyncio.Event().wait)  # type: ignore[arg-type]
    assert not isinstance(pieces, Failed), pieces
    return json.loads(b"".join(pieces))["result"]


def record(number: int, row: Row) -> dict[str, Any]:
    """Say what a row is as a record of the answer."""
    k, n, b, wide, day = row
    return {"id": number, "k": k, "n": n, "b": b, "wide": wide,
            "day": None if day is None else f"{day}T00:00:00"}  # fmt: skip


@few
@given(rows=rows_of, size=st.integers(1, 12))
async def test_chunks_are_the_table_in_its_order(
    engine: LocalEngine, data: Data, rows: list[Row], size: int
) -> None:
    """No row is lost, doubled, moved or changed; each chunk counts from 0 and is full."""
    name = await load(data, rows)
    records = await answer(engine, data, name, Chunks(rows=size), "rows")
    assert records == [record(i, row) for i, row in enumerate(rows)]
    shapes = await answer(engine, data, name, Chunks(rows=size), "list(rows.index)")
    assert shapes == [list(range(min(size, len(rows) - at))) for at in range(0, len(rows), size)]
    whole = await answer(engine, data, name, Whole(), "rows")
    assert whole == records


def key_of(values: tuple[Any, ...]) -> str:
    words = {None: "null", True: "true", False: "false"}
    return "_".join(words[v] if v is None or isinstance(v, bool) else str(v) for v in values)


@few
@given(rows=rows_of, by=st.sampled_from([("k",), ("N",), ("k", "n"), ("B", "K")]))
async def test_every_row_is_in_the_group_of_its_values(
    engine: LocalEngine, data: Data, rows: list[Row], by: tuple[str, ...]
) -> None:
    """Nulls are a group like any other; rows keep the query's order within a group."""
    name = await load(data, rows)
    found = await answer(engine, data, name, Groups(by=by), "[int(i) for i in rows['id']]")
    places = ["knb".index(column.lower()) for column in by]
    expected: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(rows):
        expected.setdefault(tuple(row[p] for p in places), []).append(i)
    assert sorted(found.values()) == sorted(expected.values())
    keys = [key_of(values) for values in expected]
    if len(set(keys)) == len(keys):  # else they are told apart
        assert found == dict(zip(keys, expected.values(), strict=True))


@few
@given(rows=rows_of, within=st.booleans())
async def test_order_by_fragments_groups_or_sorts_within(
    engine: LocalEngine, data: Data, rows: list[Row], *, within: bool
) -> None:
    """Wire reference, §9: the input is sorted first, then runs of equal values are groups."""
    name = await load(data, rows)
    split = Groups(by=("k",), order=("n",), order_within=within)
    found = await answer(engine, data, name, split, "[int(i) for i in rows['id']]")
    ordered = sorted(range(len(rows)), key=lambda i: (rows[i][1] is None, rows[i][1] or 0, i))
    if within:
        parts = [[i for i in ordered if rows[i][0] == k] for k in {row[0] for row in rows}]
        assert sorted(found.values()) == sorted(parts)
        return
    runs = [list(run) for _, run in groupby(ordered, key=lambda i: rows[i][0])]
    assert list(found.values()) == runs
    values = [rows[run[0]][0] for run in runs]
    keys = [key_of((value,)) for value in values]
    if len(set(values)) < len(values):
        assert list(found) == [f"{key}_{keys[: i + 1].count(key)}" for i, key in enumerate(keys)]
    elif len(set(keys)) == len(keys):
        assert list(found) == keys
