"""The adapter of Oracle Database, as far as that can be tried without one.

There is none that tests can start. What is proven here: how addresses are read, what the types of
the driver's Arrow become, and that a database which refuses, or never answers, is told as such.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import oracledb
import pyarrow as pa
import pytest

from fanfold_server.model.data_source import SourceKind
from fanfold_server.model.errors import (
    InvalidQuery,
    QueryTimedOut,
    SourceUnavailable,
    UnsupportedColumn,
)
from fanfold_server.model.rows import Query
from fanfold_server.rows import oracle
from tests.contract.external import PASSWORD, Sources, opened
from tests.fakes.ports import reserved_port


@pytest.fixture
async def sources(tmp_path: Path) -> AsyncIterator[Sources]:
    async with opened(tmp_path, timeout_s=2) as sources:
        yield sources


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which somebody listens, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port at which nobody listens."""
    with reserved_port() as port:
        yield port


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("oracle://reader@db:1522/sales", ("reader", "db", 1522, "sales", None, "tcp")),
        ("oracle://reader@db/sales", ("reader", "db", 1521, "sales", None, "tcp")),
        ("oracle://r%40x@db/?sid=XE", ("r@x", "db", 1521, None, "XE", "tcp")),
        ("oracle://db/sales?protocol=tcps", (None, "db", 1521, "sales", None, "tcps")),
        ("oracle://reader@/?dsn=db2:1600/other", ("reader", "db2", 1600, "other", None, "tcp")),
    ],
)
async def test_an_address_says_where_and_as_whom(url: str, expected: tuple[object, ...]) -> None:
    read = oracle.address(url)
    found = (read.user, read.host, read.port, read.service_name, read.sid, read.protocol)
    assert found == expected


async def test_types_of_the_driver_s_arrow_keep_their_meaning() -> None:
    """What the driver documents to give: its own frames, made by itself."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001  # Oracle's DATE has no zone
    given = {
        "N": pa.array([1, None], pa.int64()),
        "D": pa.array([Decimal("1.25"), None], pa.decimal128(9, 2)),
        "F": pa.array([0.5, None], pa.float64()),
        "B": pa.array([0.5, None], pa.float32()),
        "S": pa.array(["é漢🌱", None], pa.string()),
        "CLOB": pa.array(["long", None], pa.large_string()),
        "RAW": pa.array([b"\x00", None], pa.binary()),
        "BLOB": pa.array([b"\x00", None], pa.large_binary()),
        "DAY": pa.array([moment.replace(microsecond=0), None], pa.timestamp("s")),
        "AT": pa.array([moment, None], pa.timestamp("us")),
        "VECTOR": pa.array([[0.5, 1.5], None], pa.list_(pa.float32())),
        "T": pa.array([True, None], pa.bool_()),
    }
    made = oracle.converted(pa.table(oracledb.from_arrow(pa.table(given))))
    first, second = made.to_pylist()
    assert first["D"] == Decimal("1.25")
    assert (first["CLOB"], first["BLOB"], first["VECTOR"]) == ("long", b"\x00", [0.5, 1.5])
    assert (first["AT"], first["S"]) == (moment, "é漢🌱")
    assert set(second.values()) == {None}
    assert made.schema.field("CLOB").type == pa.string()
    assert made.schema.field("DAY").type == pa.timestamp("us")
    empty = oracle.converted(pa.table(given).slice(0, 0))
    assert (empty.num_rows, empty.schema) == (0, made.schema)


async def test_what_a_timestamp_does_not_keep_names_the_column() -> None:
    table = pa.table({"WHEN": pa.array([1], pa.timestamp("ns"))})
    with pytest.raises(UnsupportedColumn, match='"WHEN"'):
        oracle.converted(table)


async def test_a_database_that_refuses_is_told_and_the_password_is_not(
    sources: Sources, closed: int
) -> None:
    url = f"oracle://reader@127.0.0.1:{closed}/sales"
    sources.directory.register("ORA", SourceKind.ORACLE, url, PASSWORD)
    with pytest.raises(SourceUnavailable, match='"ORA" cannot be read') as refused:
        await sources.rows.whole(Query(text="SELECT 1 FROM dual", source="ORA"), reader="ANN")
    assert PASSWORD not in refused.value.message
    with pytest.raises(InvalidQuery):
        await sources.rows.whole(Query(text="BEGIN NULL; END;", source="ORA"), reader="ANN")


async def test_a_database_that_never_answers_is_given_up_at_the_limit(
    sources: Sources, silent: int
) -> None:
    url = f"oracle://reader@127.0.0.1:{silent}/sales"
    sources.directory.register("ORA", SourceKind.ORACLE, url, PASSWORD)
    with pytest.raises(QueryTimedOut, match="2 s"):
        await sources.rows.whole(Query(text="SELECT 1 FROM dual", source="ORA"), reader="ANN")
    assert await sources.leftovers() == set()
