"""PostgreSQL through ADBC: rows come as Arrow, by its COPY, which takes nothing but a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa

from fanfold_server.rows.session import (
    CONNECT_S,
    Broken,
    Refused,
    Target,
    carried,
    check_times,
    floats,
    unsupported,
)

_CAST: Final = "cast it, to text for example"
_TYPE: Final = b"POSTGRESQL:type"
_MODIFIER: Final = b"POSTGRESQL:typmod"
_GUARD_S: Final = 5
"""How much longer than we PostgreSQL waits until it ends a query by itself."""

_Error = adbc_driver_manager.Error


class PostgresSession:
    """A `Session` over PostgreSQL, in a read-only transaction."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Any = None
        self._cursor: Any = None

    def open(self) -> None:
        limit_ms = int((self._target.seconds + _GUARD_S) * 1000)
        try:
            self._connection = adbc_driver_postgresql.dbapi.connect(
                _address(self._target), autocommit=True
            )
            self._tell("SET default_transaction_read_only = on")
            self._tell("BEGIN TRANSACTION READ ONLY")
            self._tell(f"SET LOCAL statement_timeout = {limit_ms}")
            self._tell("SET LOCAL standard_conforming_strings = on")
            self._tell("SET LOCAL TimeZone = 'UTC'")
            is_superuser = self._ask("SELECT current_setting('is_superuser')") == "on"
        except (_Error, OSError, pa.ArrowException) as exc:
            raise Broken(_plain(exc)) from exc
        if is_superuser:
            raise Broken("the account is a superuser; register one that may only read")

    def run(self, text: str) -> Iterator[pa.RecordBatch]:
        try:
            # A comment at the end must not swallow what the driver writes behind.
            with self._execute(f"{text}\n") as reader:
                schema = reader.schema
                yield pa.RecordBatch.from_pylist([], schema=_given(schema))
                for batch in reader:
                    yield _converted(batch, schema)
        except (_Error, OSError, pa.ArrowException) as exc:
            if self._is_alive():
                raise Refused(_plain(exc)) from exc
            raise Broken(_plain(exc)) from exc

    def interrupt(self) -> None:
        if (cursor := self._cursor) is not None:
            with suppress(_Error):  # it has ended meanwhile
                cursor.adbc_cancel()

    def close(self) -> None:
        for each in (self._cursor, self._connection):
            if each is not None:
                with suppress(_Error):  # the database is away
                    each.close()

    def _execute(self, text: str) -> Any:
        self._cursor = self._connection.cursor()
        self._cursor.execute(text)
        return self._cursor.fetch_record_batch()

    def _tell(self, text: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(text)

    def _ask(self, text: str) -> object:
        with self._connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()[0]

    def _is_alive(self) -> bool:
        """Whether the database is there, so that it is the query that failed."""
        try:
            self._tell("ROLLBACK")
        except (_Error, OSError):
            return False
        return True


def _address(target: Target) -> str:
    """Write the address with all that the library is to know; its own variables are not set."""
    parts = urlsplit(target.url)
    query = dict(parse_qsl(parts.query))
    query.setdefault("connect_timeout", str(CONNECT_S))
    query.setdefault("application_name", "fanfold")
    if target.password is not None:
        query["password"] = target.password
    # libpq reads "+" as it is.
    text = urlencode(query).replace("+", "%20")
    return urlunsplit(parts._replace(query=text))


def _given(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(column.name, _type(column)) for column in schema])


def _type(column: pa.Field) -> pa.DataType:
    """Say as which type a column is carried. Raises UnsupportedColumn."""
    kind, name = column.type, _named(column)
    if name == "numeric":
        return _numeric(column)
    if isinstance(kind, pa.UuidType | pa.JsonType):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType) or name == "record" or _has_opaque(kind):
        raise unsupported(column.name, f"is of PostgreSQL's type {name}", _CAST)
    return carried(column.name, kind)


def _named(column: pa.Field) -> str:
    """Give PostgreSQL's own name of a column's type."""
    told: bytes = (column.metadata or {}).get(_TYPE, str(column.type).encode())
    return told.decode()


def _has_opaque(kind: pa.DataType) -> bool:
    parts = [kind.field(i) for i in range(kind.num_fields)]
    return any(
        isinstance(part.type, pa.BaseExtensionType)
        or _named(part) in {"numeric", "record"}
        or _has_opaque(part.type)
        for part in parts
    )


def _numeric(column: pa.Field) -> pa.DataType:
    """Read the digits of NUMERIC(p, s); a float where PostgreSQL does not say any."""
    modifier = int((column.metadata or {}).get(_MODIFIER, b"-1"))
    if modifier < 0:
        return pa.float64()
    precision = ((modifier - 4) >> 16) & 0xFFFF
    # The scale has eleven bits and a sign.
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    if not 0 <= scale <= precision <= pa.decimal128(38).precision:
        raise unsupported(
            column.name, f"is NUMERIC({precision}, {scale})", "cast it to at most 38 digits"
        )
    return pa.decimal128(precision, scale)


def _converted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for column, values in zip(schema, batch.columns, strict=True):
        array, kind = values, _type(column)
        if isinstance(array.type, pa.UuidType):
            array = pa.array([None if v is None else str(v) for v in array.to_pylist()], kind)
        elif isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        check_times(column.name, array)
        if kind != array.type:
            array = _cast(column.name, array, kind)
        columns.append(array)
    return pa.record_batch(columns, schema=_given(schema))


def _cast(name: str, array: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_float64(kind) and pa.types.is_string(array.type):
            return floats(name, array)
        return array.cast(kind)
    except pa.ArrowInvalid as exc:
        raise unsupported(
            name, f"holds a value that {kind} has not, as NaN", "leave it out, or cast it to float8"
        ) from exc


def _plain(exc: Exception) -> str:
    """Take PostgreSQL's own words out of a message; the driver's are about COPY."""
    text = str(exc)
    for start in ("ERROR:", "FATAL:", "[libpq]"):
        if start in text:
            text = text.split(start, 1)[1]
            break
    for end in ("\nLINE ", "\n\nQuery was", "\nQuery was", ". SQLSTATE"):
        text = text.split(end, 1)[0]
    return " ".join(text.split())
