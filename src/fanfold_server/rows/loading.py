"""Make a table's file out of data that was sent, and look into one."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from fanfold_server.model.errors import InvalidTable, QueryTimedOut, QueryTooLarge
from fanfold_server.model.rows import DataFormat
from fanfold_server.rows.exactness import keep_whole, names_sent
from fanfold_server.rows.gate import quoted
from fanfold_server.rows.instance import TABLE, literal, lock

SNIFFED_ROWS = 200_000
"""Rows by which the types of text columns are guessed; all of them when that guess fails."""

_MADE = f"made.main.{TABLE}"
_ARROW_FILE = b"ARROW1"
_STREAM = "fanfold_stream"
_MAX_MESSAGE = 600
_ADVICE = (
    "Possible fixes:",
    "Possible Solution:",
    ", try ignore_errors",
    "\n\nLINE ",
    "\nLINE ",
)
_MAX_HEADER = 1 << 20
_BOM = b"\xef\xbb\xbf"
_DELIMITERS = (",", ";", "\t", "|")


def build(
    connection: duckdb.DuckDBPyConnection, data: Path, form: DataFormat, out: Path
) -> dict[str, Any]:
    """Write the file of a table.

    Args:
        connection: a blank instance.
        data: what was sent.
        out: the file to write; it must not be there.

    Returns:
        rows, columns (pairs of name and type) and size_bytes.

    Raises:
        InvalidTable: the data is not in that form.
        QueryTooLarge, QueryTimedOut: a limit was hit.
    """
    if not data.stat().st_size:
        raise InvalidTable("The data is empty.")
    connection.execute(f"ATTACH {literal(str(out))} AS made")
    connection.execute(f"SET allowed_paths = [{literal(str(data))}]")
    lock(connection)
    try:
        _fill(connection, data, form)
        described = _describe(connection, _MADE)
        connection.execute("DETACH made")
    except duckdb.InterruptException as exc:
        raise QueryTimedOut("Loading took longer than this server allows.") from exc
    except duckdb.OutOfMemoryException as exc:
        raise QueryTooLarge("Loading needs more memory than this server gives to it.") from exc
    except (duckdb.Error, pa.ArrowException) as exc:
        raise InvalidTable(
            f"The data cannot be read as {form}: {_plain(exc, data)}", format=form.value
        ) from exc
    out.chmod(0o600)
    _sync(out)
    return {**described, "size_bytes": out.stat().st_size}


def preview(connection: duckdb.DuckDBPyConnection, path: Path, rows: int) -> str:
    """Write the first rows of a table as a JSON array of objects."""
    connection.execute(f"ATTACH {literal(str(path))} AS seen (READ_ONLY)")
    lock(connection)
    found = connection.execute(
        f"SELECT CAST(to_json(r) AS VARCHAR) FROM (SELECT * FROM seen.main.{TABLE} "
        f"LIMIT {rows:d}) r"
    ).fetchall()
    # DuckDB writes NaN and Infinity as such, which is no JSON.
    shown = [json.loads(row[0], parse_constant=lambda _name: None) for row in found]
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def _fill(connection: duckdb.DuckDBPyConnection, data: Path, form: DataFormat) -> None:
    match form:
        case DataFormat.CSV:
            header, skipped = _header(data)
            reader = _csv(data, header, skipped)
            try:
                _create_guessing(connection, reader)
            except duckdb.InvalidInputException:
                _find_line(connection, reader, header)
                raise
            keep_whole(
                connection,
                _MADE,
                lambda name: f"SELECT {quoted(name)} FROM {reader}, all_varchar = true)",
            )
        case DataFormat.NDJSON:
            reader = f"read_json({literal(str(data))}, format = 'newline_delimited', records = true"
            _create_guessing(connection, reader)
            names = connection.sql(f"SELECT * FROM {_MADE} LIMIT 0").columns
            keep_whole(connection, _MADE, lambda name: _json_texts(data, reader, name, names))
        case DataFormat.PARQUET:
            _create(connection, f"read_parquet({literal(str(data))})")
        case DataFormat.ARROW:
            with _arrow(data) as reader:
                connection.register(_STREAM, reader)
                _create(connection, _STREAM)


def _json_texts(data: Path, reader: str, name: str, names: Sequence[str]) -> str:
    """Ask for one column of JSON lines as it is written."""
    sent = names_sent(name, names)
    if len(sent) == 1:
        columns = f"{{{literal(name)}: 'VARCHAR'}}"
        return f"SELECT {quoted(name)} FROM {reader}, columns = {columns})"
    pointers = ("/" + each.replace("~", "~0").replace("/", "~1") for each in sent)
    texts = ", ".join(f"json ->> {literal(pointer)}" for pointer in pointers)
    rows = f"SELECT coalesce({texts}) AS {quoted(name)} FROM read_ndjson_objects"
    return f"SELECT * FROM ({rows}({literal(str(data))}))"


def _header(data: Path) -> tuple[bytes, int]:
    """Find the line with the names of the columns, and how many blank ones are before it."""
    with data.open("rb") as file:
        for skipped, line in enumerate(iter(lambda: file.readline(_MAX_HEADER), b"")):
            if line.removeprefix(_BOM).strip():
                return line, skipped
    raise InvalidTable("The data is empty: it has blank lines alone.")


def _csv(data: Path, header: bytes, skipped: int) -> str:
    """Ask for a CSV file, with all said that decides which lines are rows.

    DuckDB's guess of it takes a broken file for one of a single column, or looks for the header
    further down, below the last line that does not fit; and takes values for comments.
    """
    return (
        f"read_csv({literal(str(data))}, header = true, skip = {skipped}, comment = '', "
        f"delim = {literal(_delimiter(header))}, quote = '\"', escape = '\"'"
    )


def _delimiter(header: bytes) -> str:
    """Choose what stands most often in the first line; a comma when nothing does."""
    return max(_DELIMITERS, key=lambda delimiter: header.count(delimiter.encode()))


def _find_line(connection: duckdb.DuckDBPyConnection, reader: str, header: bytes) -> None:
    """Read a file that no guess fits again, for an error that names the line."""
    names = next(csv.reader([header.decode(errors="replace")], delimiter=_delimiter(header)))
    columns = ", ".join(f"{literal(str(number))}: 'VARCHAR'" for number in range(len(names)))
    connection.execute(
        f"SELECT count(*) FROM {reader}, auto_detect = false, columns = {{{columns}}})"
    ).fetchall()


def _create_guessing(connection: duckdb.DuckDBPyConnection, reader: str) -> None:
    """Guess the types of text columns, by some rows; by all if those do not speak for the rest."""
    try:
        _create(connection, f"{reader}, sample_size = {SNIFFED_ROWS})")
    except (duckdb.ConversionException, duckdb.InvalidInputException):
        connection.execute(f"DROP TABLE IF EXISTS {_MADE}")
        _create(connection, f"{reader}, sample_size = -1)")


def _create(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    connection.execute(f"CREATE TABLE {_MADE} AS SELECT * FROM {source}")


@contextmanager
def _arrow(data: Path) -> Iterator[pa.RecordBatchReader]:
    """Open an Arrow stream, or an Arrow file, in batches."""
    with pa.memory_map(str(data)) as mapped:
        is_file = mapped.read(len(_ARROW_FILE)) == _ARROW_FILE
        mapped.seek(0)
        if not is_file:
            with pa.ipc.open_stream(mapped) as stream:
                yield pa.RecordBatchReader.from_batches(stream.schema, stream)
            return
        with pa.ipc.open_file(mapped) as file:
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
            yield pa.RecordBatchReader.from_batches(file.schema, batches)


def _describe(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    counted = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert counted is not None
    columns = connection.execute(f"DESCRIBE {table}").fetchall()
    return {"rows": counted[0], "columns": [[column[0], column[1]] for column in columns]}


def _plain(exc: Exception, data: Path) -> str:
    """Take the server's paths, our own SQL and DuckDB's advice on options out of a message."""
    text = str(exc).replace(str(data), "the data")
    for end in (
        "Possible fixes:",
        "Possible Solution:",
        ", try ignore_errors",
        "\n\nLINE ",
        "\nLINE ",
    ):
        text = text.split(end)[0]
    return text.strip()[:_MAX_MESSAGE]


def _sync(path: Path) -> None:
    """Have a file on the disk before it is named anywhere."""
    for name in (path, path.parent):
        descriptor = os.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
