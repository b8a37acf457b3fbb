"""One thread that writes jobs, and lets all that wait share a commit.

Called by `sql_jobs.py`. On disk is an own commit's main cost (most of 0.2 ms; a fiftieth of that
when fifty share it), so operations that come while one commit is under way all go into the next.
The thread has a connection of its own, which a SQLite database writes through to the disk.

An operation is a function of a transaction. It may be called again, after a rollback, when the
connection breaks or another process is in its way; it changes nothing before it raises an error of
`model.errors`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from fanfold_server.model.errors import DiskFull, FanfoldError
from fanfold_server.store.port import Signal
from fanfold_server.store.prepared import driver_error, driver_of, translated
from fanfold_server.store.signalling import CHANNEL, payload

MAX_GROUP = 256
"""So many operations share a commit at most: the first of them waits for the last."""

RETRY_S = 30
"""How long a group is tried again while the database is away (a restart, a failover)."""

_RETRY_PAUSE_S = 0.05
_SQLITE_FULL = 13
_POSTGRES_FULL = "53100"
# A source was pruned after a submission had seen it: seen again, it is stored again.
_SQLITE_REFERS_TO_NOTHING = 787
_REFERS_TO_NOTHING = "23503"
# Serialization, deadlock, lock not available; the server stops, has crashed, starts; a transaction
# was idle too long, because this process was stopped.
_POSTGRES_TRANSIENT = frozenset(
    ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "25P03", "57P05", _REFERS_TO_NOTHING)
)


@dataclass(slots=True)
class Transaction:
    """What an operation gets: a connection, and a place for what is to be told once it holds."""

    connection: Connection
    signals: list[tuple[Signal, str]] = field(default_factory=list)

    def tell(self, signal: Signal, job: str) -> None:
        self.signals.append((signal, job))


T = TypeVar("T")
Operation = Callable[[Transaction], Any]


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    future: asyncio.Future[Any]
    synced: bool
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs operations in transactions, several in each.

    Args:
        engine: synchronous; disposed of by `close`.
        tell: called in the event loop with the signals of a commit.
        notify: whether other processes are told, too (PostgreSQL).
    """

    def __init__(
        self,
        engine: Engine,
        tell: Callable[[Sequence[tuple[Signal, str]]], None],
        *,
        notify: bool = False,
    ) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._tell = tell
        self._notifies = notify
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._synced = True
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="fanfold-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[Transaction], T], *, synced: bool = True) -> T:
        """Run an operation and return its result when it is on disk.

        Args:
            operation: see the module.
            synced: False: SQLite may keep it in the system's cache, so that it survives every
                process but not a failure of the power, after which none of those that know of it
                is left.

        Raises:
            DiskFull: there is no room; and whatever the operation raises.
        """
        assert not self._closing
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Waiting(operation, future, synced))
        return await future

    async def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._engine.dispose()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        open_ = True
        while open_:
            group: list[_Waiting] = []
            waiting = self._queue.get()
            while waiting is not None:
                group.append(waiting)
                if len(group) == MAX_GROUP or self._queue.empty():
                    break
                waiting = self._queue.get()
            open_ = waiting is not None
            if group:
                self._write(group)
        self._disconnect()

    def _write(self, group: list[_Waiting]) -> None:
        try:
            signals = self._commit(group)
        except Exception as exc:  # noqa: BLE001 - whatever it is, somebody waits for it
            if len(group) > 1:
                # One of them is to blame; alone, it fails alone.
                for waiting in group:
                    waiting.result = waiting.error = None
                    self._write([waiting])
                return
            group[0].error = _translated(exc)
            signals = []
        self._loop.call_soon_threadsafe(self._answer, group, signals)

    def _commit(self, group: list[_Waiting]) -> list[tuple[Signal, str]]:
        give_up = time.monotonic() + RETRY_S
        while True:
            try:
                return self._try_to_commit(group)
            except DBAPIError as exc:
                self._disconnect()
                if not _is_transient(exc) or time.monotonic() > give_up or self._closing:
                    raise
                time.sleep(_RETRY_PAUSE_S)
            except Exception:
                self._disconnect()
                raise

    def _try_to_commit(self, group: list[_Waiting]) -> list[tuple[Signal, str]]:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._synced = True
        self._sync(self._connection, synced=any(waiting.synced for waiting in group))
        self._begin(self._connection)
        transaction = Transaction(self._connection)
        for waiting in group:
            try:
                waiting.result, waiting.error = waiting.operation(transaction), None
            except FanfoldError as exc:
                waiting.error = exc
        signals = list(dict.fromkeys(transaction.signals))
        if self._notifies and signals:
            self._notify(self._connection, signals)
        self._end(self._connection)
        return signals

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction; with SQLite one that says at once that it will write."""
        if self._is_sqlite:
            try:
                driver_of(connection).execute(_BEGIN)
            except driver_error(connection) as exc:
                raise translated(connection, _BEGIN, exc) from exc

    @staticmethod
    def _end(connection: Connection) -> None:
        """Commit what was done by way of SQLAlchemy, or of the driver alone (`prepared.py`)."""
        if connection.in_transaction():
            connection.commit()
        else:
            try:
                driver_of(connection).commit()
            except driver_error(connection) as exc:
                raise translated(connection, "COMMIT", exc) from exc

    def _sync(self, connection: Connection, *, synced: bool) -> None:
        if synced is not self._synced and self._is_sqlite:
            driver_of(connection).execute(
                f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}"
            ).close()
            self._synced = synced

    @staticmethod
    def _notify(connection: Connection, signals: Sequence[tuple[Signal, str]]) -> None:
        payloads = [
            {"channel": CHANNEL, "payload": payload(signal, job)} for signal, job in signals
        ]
        connection.execute(_NOTIFY, payloads)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    # ------------------------------------------------------------------ in the event loop

    def _answer(self, group: list[_Waiting], signals: list[tuple[Signal, str]]) -> None:
        for waiting in group:
            if waiting.future.done():
                continue  # nobody waits any more
            if waiting.error is not None:
                waiting.future.set_exception(waiting.error)
            else:
                waiting.future.set_result(waiting.result)
        if signals:
            self._tell(signals)


_BEGIN = "BEGIN IMMEDIATE"
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def _is_transient(exc: DBAPIError) -> bool:
    if exc.connection_invalidated:
        return True
    if getattr(exc.orig, "sqlite_errorcode", None) == _SQLITE_REFERS_TO_NOTHING:
        return True
    state = getattr(exc.orig, "sqlstate", "none")
    # Without a state, the connection failed before the server could say anything.
    return state is None or state in _POSTGRES_TRANSIENT or state.startswith("08")


def _translated(exc: Exception) -> Exception:
    if isinstance(exc, DBAPIError):
        full = (
            getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL
            or getattr(exc.orig, "sqlstate", None) == _POSTGRES_FULL
        )
        if full:
            return DiskFull()
    return exc
