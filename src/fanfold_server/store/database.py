"""Transactions, and how one ends whose caller is gone.

A statement over SQLite runs in the driver's thread, and nothing stops it there. If its caller is
cancelled meanwhile, SQLAlchemy takes the connection for broken and closes it in a task of its own,
which waits for the thread; a second cancellation, or the end of the loop, leaves that task behind.
So what is under way is let end, and the cancellation goes on behind it. PostgreSQL's driver stops
its statements itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable
from sqlalchemy.engine.interfaces import CoreExecuteOptionsParameter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typing_extensions import override

T = TypeVar("T")

WRITES = "fanfold_write"
"""The execution option of a connection that will write."""


async def ended(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; if the caller is cancelled, only when it has come to its end.

    Raises:
        asyncio.CancelledError: the caller was cancelled; what came of `work` is dropped.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # asked for, so that the loop does not complain that nobody did
    raise cancelled


class _Patient(AsyncConnection):
    """A connection whose statements end, whatever becomes of who waits for them."""

    @override
    async def execute(
        self,
        statement: Executable,
        parameters: Any = None,
        *,
        execution_options: CoreExecuteOptionsParameter | None = None,
    ) -> CursorResult[*tuple[Any, ...]]:
        return await ended(
            super().execute(statement, parameters, execution_options=execution_options)
        )


class Database:
    """Hands out transactions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite has one writer at a time. Waiting here is fair and costs nothing, while waiting
        # in the driver holds a connection and a thread each.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection in a transaction that only reads: it never waits for a writer."""
        return self._transaction(writes=False)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection in a transaction that is committed at the end, undone at an error."""
        async with self._turn or nullcontext(), self._transaction(writes=True) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        if self._turn is None:
            async with self._engine.connect() as connection, connection.begin():
                yield connection
            return
        connection = _Patient(self._engine)
        try:
            await ended(_begin(connection, writes=writes))
            yield connection
            if writes:
                await ended(connection.commit())
        finally:
            if connection.sync_connection is not None:
                await ended(connection.close())  # what is not committed is undone


async def _begin(connection: AsyncConnection, *, writes: bool) -> None:
    await connection.start()
    if writes:
        await connection.execution_options(**{WRITES: True})
    await connection.begin()
