"""SQLite files, opened to be read: by the standard library, statement by statement authorized."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyarrow as pa

from fanfold_server.rows import inferring
from fanfold_server.rows.session import Broken, Refused, Target

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_REFUSED_FUNCTIONS: Final = frozenset(
    {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "zeroblob", "randomblob"}
)
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})
_MAX_VALUE_BYTES: Final = 256 << 20
_BUSY_S: Final = 5.0


class SqliteSession:
    """A `Session` over a file. It is opened read-only and knows no other file."""

    def __init__(self, target: Target) -> None:
        self._path = Path(target.url.removeprefix("sqlite:///"))
        self._connection: sqlite3.Connection | None = None
        self._is_over = False

    def open(self) -> None:
        address = f"file:{quote(str(self._path))}?mode=ro"
        try:
            connection = sqlite3.connect(
                address, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as exc:
            raise Broken(str(exc)) from exc
        connection.set_authorizer(_authorize)
        # Asked between two steps of a query's program: its time is up when this says so.
        connection.set_progress_handler(lambda: self._is_over, 1000)

    def run(self, text: str) -> Iterator[pa.RecordBatch]:
        assert self._connection is not None, "it is open"
        try:
            cursor = self._connection.execute(text)
            columns = [inferring.Column(name, None) for name, *_ in cursor.description or ()]
            yield from inferring.batches(columns, cursor.fetchmany)
        except sqlite3.Warning as exc:
            raise Refused(str(exc)) from exc
        except sqlite3.DatabaseError as exc:
            # A mistake that the module itself finds has no code.
            if getattr(exc, "sqlite_errorcode", None) in _BROKEN:
                raise Broken(str(exc)) from exc
            raise Refused(str(exc)) from exc

    def interrupt(self) -> None:
        self._is_over = True
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                self._connection.interrupt()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_where: str | None) -> int:
    """Say, while a statement is compiled, whether it may do each thing that it would."""
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or first or "").lower() in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
