"""Oracle Database through python-oracledb in its thin mode: no client, and rows come as Arrow.

Written against the documented interface of python-oracledb 26.1. What needs no database was tried
(addresses, refusals, limits of time, every type of Arrow that it gives); no server was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import oracledb
import pyarrow as pa

from fanfold_server.rows.session import (
    CONNECT_S,
    Broken,
    Refused,
    Target,
    carried,
    check_times,
    unsupported,
)

_GUARD_S: Final = 5
_ROWS: Final = 1 << 13
_ZONED: Final = (oracledb.DB_TYPE_TIMESTAMP_TZ, oracledb.DB_TYPE_TIMESTAMP_LTZ)
_GONE: Final = frozenset({"DPY-4011", "DPY-1001", "DPY-4024", "DPY-6005", "DPY-6000"})
"""python-oracledb's codes for a connection that is none any more."""


class OracleSession:
    """A `Session` over Oracle Database, in a read-only transaction."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: oracledb.Connection | None = None

    def open(self) -> None:
        try:
            connection = oracledb.connect(
                params=address(self._target.url), password=self._target.password
            )
            self._connection = connection
            connection.call_timeout = int((self._target.seconds + _GUARD_S) * 1000)
            with connection.cursor() as cursor:
                cursor.execute("ALTER SESSION SET TIME_ZONE = 'UTC'")
                cursor.execute("SET TRANSACTION READ ONLY")
        except (oracledb.Error, OSError) as exc:
            raise Broken(str(exc)) from exc

    def run(self, text: str) -> Iterator[pa.RecordBatch]:
        assert self._connection is not None, "it is open"
        try:
            self._check_zones(self._connection, text)
            found = self._connection.fetch_df_batches(text, size=_ROWS, fetch_decimals=True)
            for frame in found:
                yield converted(pa.table(frame))
        except oracledb.Error as exc:
            raise (Broken if _code(exc) in _GONE else Refused)(str(exc)) from exc

    def _check_zones(self, connection: oracledb.Connection, text: str) -> None:
        """Refuse times whose zone the driver's Arrow does not have. Raises UnsupportedColumn."""
        with connection.cursor() as cursor:
            cursor.parse(text)
            for name, code, *_ in cursor.description or ():
                if code in _ZONED:
                    raise unsupported(
                        name,
                        "is a TIMESTAMP WITH (LOCAL) TIME ZONE, whose zone the driver leaves out",
                        f'write CAST(SYS_EXTRACT_UTC("{name}") AS TIMESTAMP)',
                    )

    def interrupt(self) -> None:
        if self._connection is not None:
            with suppress(oracledb.Error):  # it has ended meanwhile
                self._connection.cancel()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(oracledb.Error, OSError):  # the database is away
                self._connection.close()


def address(url: str) -> oracledb.ConnectParams:
    """Read `oracle://user@host:port/service`, with `?sid=…`, `?protocol=tcps` or `?dsn=…`."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    params: oracledb.ConnectParams = oracledb.ConnectParams(
        host=parts.hostname,
        port=parts.port or 1521,
        sid=query.get("sid"),
        service_name=parts.path.lstrip("/") or None,
        protocol=query.get("protocol", "tcp"),
        tcp_connect_timeout=CONNECT_S,
        program="fanfold",
    )
    if "dsn" in query:
        params.parse_connect_string(query["dsn"])
    if parts.username is not None:
        params.set(user=unquote(parts.username))
    return params


def converted(table: pa.Table) -> pa.RecordBatch:
    """Bring a batch to the types that are carried.

    Raises:
        UnsupportedColumn: names a column that has none.
    """
    arrays, fields = [], []
    for column, values in zip(table.schema, table.columns, strict=True):
        array = values.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.chunks else pa.array([], column.type)
        kind = carried(column.name, column.type)
        try:
            cast = array.cast(kind)
        except pa.ArrowInvalid as exc:
            raise unsupported(
                column.name, f"holds values that {kind} does not keep", "cast it"
            ) from exc
        check_times(column.name, cast)
        arrays.append(cast)
        fields.append(pa.field(column.name, kind))
    return pa.record_batch(arrays, schema=pa.schema(fields))


def _code(exc: oracledb.Error) -> str:
    first = exc.args[0] if exc.args else None
    return str(getattr(first, "full_code", ""))
