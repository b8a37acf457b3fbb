"""One thread that writes jobs, and lets all that wait share a commit.

Called by `sql_jobs.py`. On disk is an own commit's main cost (most of 0.2 ms; a fiftieth of that
when fifty share it), so operations that come while one commit is under way all go into the next.
The thread has a connection of its own, which a SQLite database writes through to the disk.

An operation is a function of a transaction. It may be called again, after a rollback, when the
connection breaks or another process is in its way; it changes nothing before it raises an error of
`model.errors`.

An operation may also stand: it is called behind others that have changed something, in their
transaction, until it brings something. So what an agent claims is claimed by the commit that
submits it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from fanfold_server.model.errors import DiskFull, FanfoldError
from fanfold_server.store.port import Signal
from fanfold_server.store.prepared import driver_error, driver_of, translated
from fanfold_server.store.signalling import CHANNEL, payload

MAX_GROUP = 256
"""So many operations share a commit at most: the first of them waits for the last."""

HOLD_S = 0.003
"""While the next operation comes within this, one that nobody waits for goes with it."""

VAIN_S = 0.1
"""For so long there is no such wait after one that was in vain."""

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
    """What an operation gets: a connection, and a place for what is to be told once it holds.

    Attributes:
        is_alone: it holds no others up: there are only such as stand.
    """

    connection: Connection
    is_alone: bool = False
    signals: dict[tuple[Signal, str], None] = field(default_factory=dict)

    def tell(self, signal: Signal, job: str) -> None:
        self.signals[signal, job] = None

    def withhold(self, signal: Signal, job: str) -> None:
        """Do not tell it: what follows from it has been done in this transaction."""
        self.signals.pop((signal, job), None)


T = TypeVar("T")
Operation = Callable[[Transaction], Any]


@dataclass(slots=True, eq=False)
class _Waiting:
    operation: Operation
    future: asyncio.Future[Any]
    synced: bool
    patient: bool = False
    result: Any = None
    error: BaseException | None = None

    @property
    def may_wait(self) -> bool:
        return self.patient


@dataclass(slots=True, eq=False)
class _Standing(_Waiting):
    """See `Writer.stand`; `until` is on the monotonic clock."""

    until: float = 0.0
    is_idle: Callable[[], bool] = bool

    @property
    def may_wait(self) -> bool:
        return self.is_idle()


class _Company:
    """Guesses whether an operation will come soon whose commit patient ones may share.

    It will, if the last one came soon after one was answered: so do those of a client that asks for
    the next when it has the answer, however long the disk takes.
    """

    __slots__ = ("_answered", "_not_before", "_pause_s")

    def __init__(self) -> None:
        self._answered = self._not_before = 0.0  # on the monotonic clock
        self._pause_s = HOLD_S

    def note_come(self, waiting: _Waiting) -> None:
        if not waiting.may_wait:
            self._pause_s = time.monotonic() - self._answered

    def note_answered(self, group: Sequence[_Waiting]) -> None:
        if not all(waiting.may_wait for waiting in group):
            self._answered = time.monotonic()

    def note_vain(self) -> None:
        self._not_before = time.monotonic() + VAIN_S

    def hold_s(self, group: Sequence[_Waiting]) -> float:
        """Say how long the group is to wait for the next one; 0: only take what is there."""
        if self._pause_s >= HOLD_S or not all(waiting.may_wait for waiting in group):
            return 0.0
        now = time.monotonic()
        return 0.0 if now < self._not_before else max(self._answered + HOLD_S - now, 0.0)


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
        self._standing: list[_Standing] = []
        self._company = _Company()
        self.changes = 0
        """Grows with whatever may make standing operations succeed; of the writer's thread."""
        self._thread = threading.Thread(target=self._run, name="fanfold-writer", daemon=True)
        self._thread.start()

    async def run(
        self, operation: Callable[[Transaction], T], *, synced: bool = True, patient: bool = False
    ) -> T:
        """Run an operation and return its result when it is on disk.

        Args:
            operation: see the module.
            synced: False: SQLite may keep it in the system's cache, so that it survives every
                process but not a failure of the power, after which none of those that know of it
                is left.
            patient: nobody waits for it: it may be held for a moment if another is to be expected,
                to share its commit.

        Raises:
            DiskFull: there is no room; and whatever the operation raises.
        """
        assert not self._closing
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Waiting(operation, future, synced, patient))
        return await future

    async def stand(
        self,
        operation: Callable[[Transaction], list[T]],
        *,
        wait_s: float,
        is_idle: Callable[[], bool],
    ) -> list[T]:
        """Run an operation behind others, until it brings something or has waited long enough.

        Args:
            operation: its result is empty as long as there is nothing. It need not be on disk.
            wait_s: after this it is run once more, and gives what it then brings.
            is_idle: asked in the writer's thread, whether the first call would bring nothing.
        """
        assert not self._closing
        future: asyncio.Future[list[T]] = self._loop.create_future()
        until = time.monotonic() + wait_s
        self._queue.put(_Standing(operation, future, synced=False, until=until, is_idle=is_idle))
        return await future or []

    def look(self) -> None:
        """Have standing operations run: another process has changed something. In the loop."""
        if not self._closing:
            looked: asyncio.Future[None] = self._loop.create_future()
            looked.add_done_callback(asyncio.Future.exception)  # nobody awaits it
            self._queue.put(_Waiting(_look, looked, synced=False))

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
            group, open_ = self._gathered()
            self._serve(group)
        self._answer_soon([*self._standing], [])
        self._disconnect()

    def _gathered(self) -> tuple[list[_Waiting], bool]:
        """Take all that waits, once there is something, or the time of one that stands is up.

        Returns:
            The operations, and whether there may be more.
        """
        group: list[_Waiting] = []
        is_held = False
        first = min((waiting.until for waiting in self._standing), default=None)
        left_s = None if first is None else max(first - time.monotonic(), 0.0)
        try:
            waiting = self._queue.get(timeout=left_s)
            while waiting is not None:
                group.append(waiting)
                self._company.note_come(waiting)
                if len(group) == MAX_GROUP:
                    return group, True
                hold_s = self._company.hold_s(group)
                is_held = hold_s > 0
                waiting = self._queue.get(timeout=hold_s)
        except Empty:
            if group and is_held:
                self._company.note_vain()
            return group, True
        return group, False

    def _serve(self, group: list[_Waiting]) -> None:
        new = [waiting for waiting in group if isinstance(waiting, _Standing)]
        self._standing = [one for one in (*self._standing, *new) if not one.future.done()]
        now = time.monotonic()
        is_due = any(one.until <= now for one in self._standing) or not all(
            one.is_idle() for one in new
        )
        others = [waiting for waiting in group if not isinstance(waiting, _Standing)]
        if others or is_due:
            self._write(others, self._standing, is_due=is_due)
            self._company.note_answered(others)

    def _write(
        self, group: list[_Waiting], standing: list[_Standing], *, is_due: bool = True
    ) -> None:
        try:
            signals = self._commit(group, standing, is_due=is_due)
        except Exception as exc:  # noqa: BLE001 - whatever it is, somebody waits for it
            self.changes += 1
            alone = [*group, *standing]
            for waiting in alone:
                waiting.result = waiting.error = None
            if len(alone) > 1:
                # One of them is to blame; alone, it fails alone.
                for waiting in group:
                    self._write([waiting], [])
                for one in standing:
                    self._write([], [one])
                return
            alone[0].error = _translated(exc)
            signals = []
        now = time.monotonic()
        ended = [one for one in standing if one.result or one.error or one.until <= now]
        self._standing = [one for one in self._standing if one not in ended]
        self._answer_soon([*group, *ended], signals)

    def _answer_soon(
        self, group: Sequence[_Waiting], signals: Sequence[tuple[Signal, str]]
    ) -> None:
        if group:
            self._loop.call_soon_threadsafe(self._answer, group, signals)

    def _commit(
        self, group: Sequence[_Waiting], standing: Sequence[_Standing], *, is_due: bool
    ) -> list[tuple[Signal, str]]:
        give_up = time.monotonic() + RETRY_S
        while True:
            try:
                return self._try_to_commit(group, standing, is_due=is_due)
            except DBAPIError as exc:
                self._disconnect()
                if not _is_transient(exc) or time.monotonic() > give_up or self._closing:
                    raise
                time.sleep(_RETRY_PAUSE_S)
            except Exception:
                self._disconnect()
                raise

    def _try_to_commit(
        self, group: Sequence[_Waiting], standing: Sequence[_Standing], *, is_due: bool
    ) -> list[tuple[Signal, str]]:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._synced = True
        self._sync(self._connection, synced=any(waiting.synced for waiting in group))
        self._begin(self._connection)
        is_alone = all(waiting.operation is _look for waiting in group)
        transaction = Transaction(self._connection, is_alone)
        _call(group, transaction)
        if transaction.signals or any(waiting.operation is _look for waiting in group):
            self.changes += 1
            is_due = True
        if is_due:
            _call(standing, transaction)
        signals = list(transaction.signals)
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

    def _answer(self, group: Sequence[_Waiting], signals: Sequence[tuple[Signal, str]]) -> None:
        for waiting in group:
            if waiting.future.done():
                continue  # nobody waits any more
            if waiting.error is not None:
                waiting.future.set_exception(waiting.error)
            else:
                waiting.future.set_result(waiting.result)
        if signals:
            self._tell(signals)


def _call(group: Sequence[_Waiting], transaction: Transaction) -> None:
    for waiting in group:
        try:
            waiting.result, waiting.error = waiting.operation(transaction), None
        except FanfoldError as exc:
            waiting.result, waiting.error = None, exc


def _look(_: Transaction) -> None:
    """Do nothing: what stands is to be run."""


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
