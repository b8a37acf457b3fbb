"""Any database that SQLAlchemy has a driver for; the drivers are the operator's to install.

What can be told to a database is: read only, a limit of time, nothing kept. Where it knows none of
these words, the rights of the registered account are what protects it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, CursorResult, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fanfold_server.rows import inferring
from fanfold_server.rows.session import Broken, Refused, Target

_GUARD_S: Final = 5
_BUFFERED_ROWS: Final = 1000


class AlchemySession:
    """A `Session` over SQLAlchemy; types of columns are those of the values that come."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Connection | None = None

    def open(self) -> None:
        try:
            url = make_url(self._target.url)
            if self._target.password is not None:
                url = url.set(password=self._target.password)
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
            options = {"postgresql_readonly": True} if engine.dialect.name == "postgresql" else {}
            connection = engine.connect().execution_options(**options)
            self._connection = connection
            for statement in _beginning(engine.dialect.name, self._target.seconds + _GUARD_S):
                connection.exec_driver_sql(statement)
        except (NoSuchModuleError, ModuleNotFoundError) as exc:
            raise Broken(f"its driver is not installed: {exc}") from exc
        except ArgumentError as exc:
            raise Broken("its address cannot be read") from exc
        except SQLAlchemyError as exc:
            raise Broken(_plain(exc)) from exc

    def run(self, text: str) -> Iterator[pa.RecordBatch]:
        assert self._connection is not None, "it is open"
        try:
            result = self._connection.exec_driver_sql(
                text,
                execution_options={"stream_results": True, "max_row_buffer": _BUFFERED_ROWS},
            )
            if not result.returns_rows:
                raise Refused("it gives no rows")
            with result:
                yield from inferring.batches(_columns(result), lambda n: _fetch(result, n))
        except DBAPIError as exc:
            raise (Broken if exc.connection_invalidated else Refused)(_plain(exc)) from exc
        except SQLAlchemyError as exc:
            raise Refused(_plain(exc)) from exc

    def interrupt(self) -> None:
        """Cancel, where the driver can; else this process ends, and its connection with it."""
        if self._connection is not None:
            with suppress(Exception):  # drivers differ in how they say that nothing runs
                driver: Any = self._connection.connection.driver_connection
                if (cancel := getattr(driver, "cancel", None)) is not None:
                    cancel()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # the database is away
                self._connection.close()


def _beginning(dialect: str, limit_s: float) -> list[str]:
    """Say how a session begins that only reads, and not for ever."""
    limit_ms = int(limit_s * 1000)
    match dialect:
        case "postgresql":
            return [
                f"SET LOCAL statement_timeout = {limit_ms}",
                "SET LOCAL standard_conforming_strings = on",
            ]
        case "mysql":
            return [
                f"SET SESSION max_execution_time = {limit_ms}",
                "SET SESSION TRANSACTION READ ONLY",
                "START TRANSACTION READ ONLY",
            ]
        case "mariadb":
            return [
                f"SET SESSION max_statement_time = {limit_s:g}",
                "SET SESSION TRANSACTION READ ONLY",
                "START TRANSACTION READ ONLY",
            ]
        case "oracle":
            return ["SET TRANSACTION READ ONLY"]
        case _:
            return []


def _columns(result: CursorResult[Any]) -> list[inferring.Column]:
    cursor: Any = result.cursor
    return [
        inferring.Column(name, inferring.known_digits(precision, scale))
        for name, _code, _size, _internal, precision, scale, _null in cursor.description
    ]


def _fetch(result: CursorResult[Any], rows: int) -> Sequence[Sequence[Any]]:
    return result.fetchmany(rows)


def _plain(exc: SQLAlchemyError) -> str:
    """Take the driver's own words: not the statement, nor SQLAlchemy's advice."""
    original = exc.orig if isinstance(exc, DBAPIError) else exc
    return " ".join(str(original).split("\nLINE ", 1)[0].split())
