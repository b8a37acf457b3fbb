"""The store over SQL: one code path for SQLite and PostgreSQL.

Opened by `compose`. Connections, transactions and pragmas live here; the statements, in
`sql_accounts.py`, `sql_scripts.py`, `sql_jobs.py` and their neighbours.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fanfold_server.model.errors import DiskFull
from fanfold_server.store.database import WRITES, Database
from fanfold_server.store.migrating import StoreUnusable, migrate
from fanfold_server.store.port import Signal
from fanfold_server.store.signalling import Hub, Listener
from fanfold_server.store.sql_accounts import SqlAccounts, SqlSessions
from fanfold_server.store.sql_audit import SqlAudit
from fanfold_server.store.sql_callbacks import SqlCallbacks
from fanfold_server.store.sql_datastores import SqlDatastores
from fanfold_server.store.sql_environments import SqlEnvironments
from fanfold_server.store.sql_jobs import SqlJobs
from fanfold_server.store.sql_ledger import SqlLedger
from fanfold_server.store.sql_network import SqlNetworks
from fanfold_server.store.sql_notes import SqlNotes
from fanfold_server.store.sql_scripts import SqlScripts
from fanfold_server.store.sql_secrets import SqlSecrets
from fanfold_server.store.sql_settling import SqlSettling
from fanfold_server.store.sql_sources import SqlSources
from fanfold_server.store.sql_tables import SqlTables
from fanfold_server.store.sql_tokens import SqlTokens
from fanfold_server.store.vault import Vault
from fanfold_server.store.writing import Writer

__all__ = ["URL", "Database", "Store", "StoreUnusable", "open_store", "postgres_url", "sqlite_url"]

BUSY_TIMEOUT_MS = 10_000
"""How long a write waits for another process's."""

WAL_PAGES = 4000
"""So long the write-ahead log becomes, 16 MiB, before its pages go to where they belong."""

LISTEN_WAIT_S = 10
"""How long a start waits until it hears what other processes do."""

STALLED_MS = 5000
"""A process that is stopped within a transaction holds its locks no longer than this."""

_MAKES_READY = frozenset((Signal.READY, Signal.ENDED))
"""What others have done that may let an agent claim something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ports, all over one database.

    Attributes:
        sources: makes the one that needs to know where passwords are kept.
    """

    accounts: SqlAccounts
    sessions: SqlSessions
    scripts: SqlScripts
    jobs: SqlJobs
    ledger: SqlLedger
    tables: SqlTables
    callbacks: SqlCallbacks
    environments: SqlEnvironments
    tokens: SqlTokens
    audit: SqlAudit
    secrets: SqlSecrets
    settling: SqlSettling
    sources: Callable[[Vault], SqlSources]
    datastores: SqlDatastores
    notes: SqlNotes
    networks: SqlNetworks
    signals: Hub


def sqlite_url(path: Path) -> URL:
    """Name a SQLite database by its file."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def postgres_url(address: str) -> URL:
    """Read the address of a PostgreSQL, with whatever driver it names."""
    return make_url(address.replace("postgres://", "postgresql://", 1)).set(
        drivername="postgresql+psycopg"
    )


@asynccontextmanager
async def open_store(url: URL, *, min_free_bytes: int = 0) -> AsyncIterator[Store]:
    """Open the database, bring its tables up to date, close it at the end.

    Args:
        url: where it is.
        min_free_bytes: with less room than this beside an embedded database, no job is accepted,
            so that those that were can end.

    Raises:
        StoreUnusable: see `migrate`.
    """
    await asyncio.to_thread(migrate, url)
    async with AsyncExitStack() as stack:
        # A connection may have died with a server that is back again.
        engine = create_async_engine(url, pool_pre_ping=not is_sqlite(url))
        stack.push_async_callback(engine.dispose)
        if is_sqlite(url):
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        signals = Hub()
        writer = Writer(_writing_engine(url), signals.tell, notify=not is_sqlite(url))
        stack.push_async_callback(writer.close)
        if not is_sqlite(url):

            def heard(told: Sequence[tuple[Signal, str]]) -> None:
                signals.tell(told)
                if any(signal in _MAKES_READY for signal, _ in told):
                    writer.look()

            listener = Listener(create_async_engine(url, poolclass=NullPool), heard)
            stack.push_async_callback(listener.close)
            async with asyncio.timeout(LISTEN_WAIT_S):
                await listener.ready()
        database = Database(engine)
        yield Store(
            accounts=SqlAccounts(database),
            sessions=SqlSessions(database),
            scripts=SqlScripts(database),
            jobs=SqlJobs(writer, check_room=_room(url, min_free_bytes)),
            ledger=SqlLedger(database),
            tables=SqlTables(database),
            callbacks=SqlCallbacks(database, writer),
            environments=SqlEnvironments(database),
            tokens=SqlTokens(database),
            audit=SqlAudit(database, writer),
            secrets=SqlSecrets(database),
            settling=SqlSettling(database, writer),
            sources=partial(SqlSources, database),
            datastores=SqlDatastores(database),
            notes=SqlNotes(database),
            networks=SqlNetworks(database),
            signals=signals,
        )


def is_sqlite(url: URL) -> bool:
    """Tell whether the database is embedded: a file, and this machine alone."""
    return url.get_backend_name() == "sqlite"


def _room(url: URL, min_free_bytes: int) -> Callable[[], None]:
    if not is_sqlite(url):
        return lambda: None  # the server's own matter, which says so when it has none
    folder = Path(url.database or "").parent

    def check() -> None:
        free = shutil.disk_usage(folder).free
        if free < min_free_bytes:
            raise DiskFull(
                f"The server has no room for another job: {free >> 20:,} MiB are free on the disk "
                f"of its database, and its operator keeps {min_free_bytes >> 20:,} MiB free "
                '(the setting "min_free_mib").'
            )

    return check


def _writing_engine(url: URL) -> Engine:
    """Open what the writer's thread uses: an accepted job outlives a failure of the power."""
    if not is_sqlite(url):
        engine = create_engine(url, poolclass=NullPool)
        event.listen(engine, "connect", _limit_idleness)
        return engine
    engine = create_engine(url.set(drivername="sqlite"), poolclass=NullPool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", _write_through)
    return engine  # the writer begins its transactions itself


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver begins nothing by itself
    cursor = dbapi_connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "foreign_keys = ON",
        # With the write-ahead log this loses nothing but to a failure of the machine's power.
        "synchronous = NORMAL",
        # A job changes some twenty pages, mostly the same: the fewer checkpoints, the fewer writes.
        f"wal_autocheckpoint = {WAL_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails when another has written in between;
    # one that says at once that it will write, waits.
    write = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _write_through(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.execute("PRAGMA synchronous = FULL").close()


def _limit_idleness(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.autocommit = True
    dbapi_connection.execute(f"SET idle_in_transaction_session_timeout = {STALLED_MS}")
    dbapi_connection.autocommit = False
