"""Writing a rowset: the Arrow file of its rows, and where its calls begin. Imports no DuckDB."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

import pyarrow as pa

from fanfold_server.model.errors import QueryTooLarge, UnsupportedColumn

MIB: Final = 1024 * 1024


class Stopped(Exception):
    """The query is over: its time is up, or nobody waits for it any more."""


class RowsFile:
    """A file under way; made by `rows_file`.

    Attributes:
        rows: how many are written.
    """

    def __init__(self, raw: FileIO, writer: pa.ipc.RecordBatchFileWriter, room_bytes: int) -> None:
        self.rows = 0
        self._raw = raw
        self._writer = writer
        self._room_bytes = room_bytes

    @property
    def size_bytes(self) -> int:
        """How much is written."""
        return self._raw.tell()

    def write(self, batch: pa.RecordBatch) -> bool:
        """Write rows; false when that was more than there is room for."""
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        return self.size_bytes <= self._room_bytes


@contextmanager
def rows_file(path: Path, schema: pa.Schema, room_bytes: int) -> Iterator[RowsFile]:
    """Write an Arrow file that only its owner may read.

    Raises:
        QueryTooLarge: the disk is full.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with (
            FileIO(descriptor, "wb") as raw,
            pa.PythonFile(raw, mode="w") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            yield RowsFile(raw, writer, room_bytes)
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise QueryTooLarge("There is no room for the rows of this query.") from exc
        raise


def too_large(limit_mib: int) -> QueryTooLarge:
    """Say that a query gives more than it may."""
    return QueryTooLarge(
        f"The query gives more than {limit_mib} MiB; select fewer columns or rows, or have the "
        "server's limit raised.",
        limit_mib=limit_mib,
    )


def write_offsets(path: Path, starts: Iterable[int], rows: int) -> int:
    """Write where calls begin, and where the last ends; return how many calls there are."""
    edges = array("Q", starts)
    calls = len(edges)
    edges.append(rows)
    path.write_bytes(edges.tobytes())
    path.chmod(0o400)
    return calls


def spool(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    *,
    limit_mib: int,
    is_stopped: Callable[[], bool],
) -> tuple[int, pa.Schema]:
    """Write batches whose types may still widen: null to anything, whole numbers to floats.

    Batches of other types go on in another file; all are joined at the end, so that a query is run
    once, whatever comes late in it.

    Args:
        path: of the file to write; parts of it are called like it, with a number behind.
        batches: at least one, which may be empty; all with the same names.
        limit_mib: of all that is written, at most.
        is_stopped: called between batches.

    Returns:
        How many rows there are, and the types that they have in the end.

    Raises:
        Stopped: it was told to.
        QueryTooLarge: the limit is hit.
        UnsupportedColumn: the types of a column cannot be brought together.
    """
    parts: list[Path] = []
    rows, used_bytes = 0, 0
    schema: pa.Schema | None = None
    with ExitStack() as stack:
        file: RowsFile | None = None
        for batch in batches:
            if is_stopped():
                raise Stopped
            if file is None or batch.schema != schema:
                used_bytes += 0 if file is None else file.size_bytes
                stack.close()
                schema = batch.schema
                parts.append(Path(f"{path}.{len(parts)}"))
                room_bytes = limit_mib * MIB - used_bytes
                file = stack.enter_context(rows_file(parts[-1], schema, room_bytes))
            if not file.write(batch):
                raise too_large(limit_mib)
            rows += batch.num_rows
    assert schema is not None, "there is a batch, also of no rows"
    final = pa.schema([_settled(column) for column in schema])
    if len(parts) == 1 and final == schema:
        parts[0].rename(path)
    else:
        with rows_file(path, final, limit_mib * MIB) as joined:
            for part in parts:
                _append(joined, part, final, limit_mib, is_stopped)
    return rows, final


def _settled(column: pa.Field) -> pa.Field:
    """Give a column that holds nothing a type: text."""
    return pa.field(column.name, pa.string() if pa.types.is_null(column.type) else column.type)


def _append(
    joined: RowsFile, part: Path, final: pa.Schema, limit_mib: int, is_stopped: Callable[[], bool]
) -> None:
    with pa.memory_map(str(part)) as mapped, pa.ipc.open_file(mapped) as reader:
        for number in range(reader.num_record_batches):
            if is_stopped():
                raise Stopped
            if not joined.write(_cast(reader.get_batch(number), final)):
                raise too_large(limit_mib)
    part.unlink()


def _cast(batch: pa.RecordBatch, final: pa.Schema) -> pa.RecordBatch:
    columns = []
    for column, wanted in zip(batch.columns, final, strict=True):
        try:
            columns.append(column.cast(wanted.type))
        except pa.ArrowInvalid as exc:
            raise UnsupportedColumn(
                f'The column "{wanted.name}" holds floats, and a whole number that no float keeps; '
                "cast it to text, or to a decimal.",
                column=wanted.name,
            ) from exc
    return pa.record_batch(columns, schema=final)


def forget(path: Path) -> None:
    """Delete a rowset's files, finished or not, as far as they are there."""
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink(missing_ok=True)
