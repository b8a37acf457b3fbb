"""A prepared statement says what SQLAlchemy says, and fails as it does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from fanfold_server.store.column_types import Unsigned64, UtcDateTime
from fanfold_server.store.prepared import Prepared, driver_of

THING = Table(
    "thing",
    MetaData(),
    Column("a", Integer, primary_key=True),
    Column("b", Integer, primary_key=True),
    Column("at", UtcDateTime),
    Column("seed", Unsigned64),
    Column("count", LargeBinary),
    Column("state", String),
)
COLUMNS = [column.name for column in THING.c]
ADD = Prepared(insert(THING), COLUMNS)
BY_KEYS = (
    select(THING)
    .where(tuple_(THING.c.a, THING.c.b).in_(bindparam("keys", expanding=True)))
    .order_by(THING.c.a, THING.c.b)
)
BY_A = select(THING.c.b).where(
    THING.c.a.in_(bindparam("ones", expanding=True)),
    THING.c.b.not_in(bindparam("others", expanding=True)),
)
END = Prepared(
    update(THING).where(THING.c.a == bindparam("its_a")).values(state="ended", at=bindparam("now"))
)
NOW = datetime(2026, 1, 5, 12, 30, 0, 7, tzinfo=UTC)


def _thing(a: int, b: int) -> dict[str, object]:
    return {"a": a, "b": b, "at": NOW, "seed": 2**64 - 1 - a, "count": b"x", "state": None}


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        THING.create(connection)
        ADD.run_each(connection, [_thing(a, b) for a in range(6) for b in range(6)])
        yield connection
    engine.dispose()


KEYS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=9)
NUMBERS = st.lists(st.integers(0, 7), min_size=1, max_size=9)
_BY_KEYS, _BY_A = Prepared(BY_KEYS), Prepared(BY_A)


@given(keys=KEYS)
def test_rows_are_those_of_sqlalchemy_whatever_the_length_of_a_list(
    connection: Connection, keys: list[tuple[int, int]]
) -> None:
    """Texts are made for a few lengths only: the last element fills a list up."""
    rows = _BY_KEYS.rows(connection, {"keys": keys})
    assert list(map(tuple, rows)) == list(map(tuple, connection.execute(BY_KEYS, {"keys": keys})))
    for row in rows:
        assert (row.at, row.count, row.state) == (NOW, b"x", None)
        assert row.seed == 2**64 - 1 - row.a


@given(st.datetimes(timezones=st.just(UTC) | st.timezones(), allow_imaginary=False))
def test_sqlite_keeps_a_time_as_sqlalchemy_writes_it_in_utc(time: datetime) -> None:
    """So it sorts, and what older versions have written is found beside it."""
    try:
        utc = time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # it is in another year 0 or 10,000 there
        assume(False)
    sqlite = SQLiteDialect()
    ours = UtcDateTime().dialect_impl(sqlite).bind_processor(sqlite)
    theirs = DateTime().dialect_impl(sqlite).bind_processor(sqlite)
    assert ours is not None
    assert theirs is not None
    assert (ours(time), ours(None)) == (theirs(utc), None)


def test_a_time_without_a_zone_is_refused() -> None:
    sqlite = SQLiteDialect()
    ours = UtcDateTime().dialect_impl(sqlite).bind_processor(sqlite)
    assert ours is not None
    with pytest.raises(ValueError, match="without a zone"):
        ours(NOW.replace(tzinfo=None))


@given(ones=NUMBERS, others=NUMBERS)
def test_each_list_has_its_length(
    connection: Connection, ones: list[int], others: list[int]
) -> None:
    given = {"ones": ones, "others": others}
    found = sorted(row.b for row in _BY_A.rows(connection, given))
    assert found == sorted(connection.scalars(BY_A, given))


def test_values_of_the_statement_itself_are_kept(connection: Connection) -> None:
    later = NOW.replace(year=2027)
    ADD.run(connection, _thing(100, 1))
    END.run(connection, {"its_a": 100, "now": later})
    (row,) = _BY_KEYS.rows(connection, {"keys": [(100, 1)]})
    assert (row.state, row.at) == ("ended", later)


def test_errors_are_those_of_sqlalchemy(connection: Connection) -> None:
    """The writer looks at their class, and at the driver's error inside."""
    ADD.run(connection, _thing(200, 1))
    for again in ([_thing(200, 1)], [_thing(201, 1), _thing(200, 1)]):
        with pytest.raises(IntegrityError) as raised:
            ADD.run_each(connection, again)
        assert isinstance(raised.value.orig, sqlite3.IntegrityError)
        assert not raised.value.connection_invalidated
    assert isinstance(driver_of(connection), sqlite3.Connection)
