"""What a transaction over SQLite leaves behind when its caller goes away in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from fanfold_server.store.sql import Database, sqlite_url

LIMIT_S = 20
Lend = Callable[[Database], AbstractAsyncContextManager[AsyncConnection]]


class Gate:
    """What a statement waits at, in the driver's thread: `SELECT gate()`."""

    def __init__(self) -> None:
        self.entered = Event()
        self.opened = Event()

    def __call__(self) -> int:
        self.entered.set()
        assert self.opened.wait(LIMIT_S)
        return 7


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def database(tmp_path: Path, gate: Gate) -> AsyncIterator[Database]:
    engine = create_async_engine(sqlite_url(tmp_path / "some.db"), pool_size=1, max_overflow=0)

    def prepare(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.create_function("gate", 0, gate)

    event.listen(engine.sync_engine, "connect", prepare)
    yield Database(engine)
    gate.opened.set()
    await engine.dispose()


def _others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("lend", [Database.read, Database.write])
async def test_a_cancelled_statement_ends_before_its_caller(
    lend: Lend, database: Database, gate: Gate
) -> None:
    """Else a task that closes its connection is left, and destroyed with the loop.

    A caller is cancelled more than once: by its group again and again, by the end of the server.
    """

    async def ask() -> None:
        async with lend(database) as connection:
            await connection.scalar(text("SELECT gate()"))

    asking = asyncio.create_task(ask())
    assert await asyncio.to_thread(gate.entered.wait, LIMIT_S)
    for _ in range(5):
        asking.cancel()
        await asyncio.wait((asking,), timeout=0.01)
    assert not asking.done()

    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, LIMIT_S)
    assert _others() == set()


async def test_the_connection_serves_the_next_caller(database: Database, gate: Gate) -> None:
    """There is only one, and it is neither lost nor left within a transaction."""
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE kept (n INTEGER)"))

    async def add() -> None:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO kept VALUES (1)"))
            await connection.scalar(text("SELECT gate()"))

    adding = asyncio.create_task(add())
    assert await asyncio.to_thread(gate.entered.wait, LIMIT_S)
    adding.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(adding, LIMIT_S)

    async with asyncio.timeout(LIMIT_S), database.write() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM kept")) == 0
        assert await connection.scalar(text("SELECT gate()")) == 7


async def test_a_limit_is_kept_once_the_statement_has_ended(database: Database, gate: Gate) -> None:
    """`asyncio.timeout` cancels like any other, and has to find its own cancellation again."""

    async def open_later() -> None:
        assert await asyncio.to_thread(gate.entered.wait, LIMIT_S)
        limit.reschedule(asyncio.get_running_loop().time())
        asyncio.get_running_loop().call_later(0.05, gate.opened.set)

    async def ask() -> None:
        async with database.read() as connection:
            await connection.scalar(text("SELECT gate()"))

    limit = asyncio.timeout(LIMIT_S)
    opening = asyncio.create_task(open_later())
    with pytest.raises(TimeoutError):
        async with limit:
            await ask()
    await opening
    assert _others() == set()
