"""Bring a database up to date, once, whoever starts first.

Called by `open_store`, in a thread: Alembic is synchronous. Two locks keep processes apart: a lock
on a file beside a SQLite database (which is made, given its mode and its journal there), and one in
the database itself (`BEGIN IMMEDIATE`, an advisory lock on PostgreSQL). All revisions run in one
transaction, so that a start that is killed half-way leaves the old tables as they were. Most starts
find nothing to do, and do not load Alembic.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

LOCK_WAIT_S = 60
"""How long a start waits for another process's migration."""

_ADVISORY_KEY = 0x66616E66  # "fanf"


class StoreUnusable(Exception):
    """The database cannot be opened; the message says what to do."""


def migrate(url: URL) -> None:
    """Create the database if need be, and run the revisions that it lacks.

    Args:
        url: as for the asynchronous engine, `sqlite+aiosqlite:///…` or `postgresql+psycopg://…`.

    Raises:
        StoreUnusable: a newer fanfold made the database, it cannot be read or written, or another
            process holds the lock for longer than `LOCK_WAIT_S`.
    """
    if url.get_backend_name() != "sqlite":
        try:
            _upgrade(url)
        except ModuleNotFoundError as exc:
            raise StoreUnusable(
                f'{exc.name} is not installed: it is in "fanfold[postgres]"'
            ) from exc
        return
    path = Path(url.database or "")
    try:
        with _lock_file(path.with_name(f"{path.name}.lock")):
            # SQLite gives its side files the mode of the database.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _upgrade(url.set(drivername="sqlite"))
    except OSError as exc:
        raise StoreUnusable(f"cannot use {exc.filename}: {exc.strerror}") from exc


def _upgrade(url: URL) -> None:
    engine = create_engine(url, poolclass=NullPool)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY}
                )
            if _revision(connection) != newest_revision():
                _run_revisions(connection)
                _check_references(connection)
    except DBAPIError as exc:
        raise StoreUnusable(f"cannot use the database {_named(url)}: {exc.orig}") from exc
    finally:
        engine.dispose()


def newest_revision() -> str:
    """Return the number of the last revision that this fanfold has."""
    names = (file.name for file in files("fanfold_server.store.migrations.versions").iterdir())
    return max(name.partition("_")[0] for name in names if name[0].isdigit())


def _revision(connection: Connection) -> str | None:
    """Return the number of the revision that the database is at; None for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _run_revisions(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "fanfold_server.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise StoreUnusable(
            f"the database was made by another version of fanfold than this one ({exc})"
        ) from exc


def _named(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _prepare_sqlite(dbapi_connection: object, _record: object) -> None:
    connection: Any = dbapi_connection
    connection.isolation_level = None  # the driver begins nothing; `_begin_immediate` does
    for pragma in (
        f"busy_timeout = {LOCK_WAIT_S * 1000}",
        "journal_mode = WAL",
        # A table made anew in a batch is dropped under its old name, which would delete what
        # refers to it. Checked at the end instead.
        "foreign_keys = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_references(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StoreUnusable(f"the migration left {len(broken)} rows that refer to nothing")


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StoreUnusable(f"another process holds {path}") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
