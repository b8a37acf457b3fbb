"""The process that writes a job's values as an Arrow stream or as Parquet.

Started for each answer by `columnar.py`, so that pyarrow and what a conversion takes are gone with
it, and so that nobody else waits while it computes.

On stdin come the frames of `columnar_frames.py`, all values twice: once to find the columns' types,
once to be written. Between the two, one line of JSON on stdout says `{"why": null}` or why there is
no such table; after it comes the file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fanfold_server.http.columnar_frames import (
    ARROW,
    END,
    FAILED,
    FAILING,
    HEAD,
    KEYED,
    KEYS,
    PARQUET,
)
from fanfold_server.http.shapes import Rows, Shape, Untyped, free_name, with_floats

ROWS_AT_ONCE: Final = 1 << 16
CELLS_AT_ONCE: Final = 1 << 22
"""Of a record batch or a row group, whichever is reached first."""

NICENESS: Final = 5
"""Calls and short answers go first."""

_decode = msgspec.json.Decoder(list[Any]).decode


class Writer(Protocol):
    """Both of pyarrow's."""

    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class Sink:
    """Stdout as pyarrow wants a file to be."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


class Part:
    """The calls of one frame: their values, and what came of those without."""

    __slots__ = ("failed", "keys", "start", "values")

    def __init__(
        self, start: int, values: list[Any], failed: dict[str, str], keys: list[str]
    ) -> None:
        self.start = start
        self.values = values
        self.failed = failed
        self.keys = keys


def parts(file: IO[bytes]) -> Iterator[Part]:
    """Read frames to the end of one pass.

    Raises:
        EOFError: the server is gone, or has given up.
    """
    failed: dict[str, str] = {}
    keys: list[str] = []
    while True:
        kind, at, length = HEAD.unpack(_exactly(file, HEAD.size))
        text = _exactly(file, length)
        if kind == END:
            return
        if kind == FAILED:
            failed = json.loads(text)
        elif kind == KEYS:
            keys = json.loads(text)
        else:
            yield Part(at, _decode(b"[%b]" % text[:-1].replace(b"\n", b",")), failed, keys)
            failed, keys = {}, []


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


class Table:
    """The rows of a job as record batches.

    Args:
        rows: what came of the first pass.
        has_keys: whether there is a column of the groups' keys.
        has_failures: whether there is a column of the messages of failed calls.
    """

    def __init__(self, rows: Rows, *, has_keys: bool, has_failures: bool) -> None:
        self._rows = rows
        self._columns = rows.columns
        types = [pa.field(name, arrow_type(shape)) for name, shape in self._columns.items()]
        names = list(self._columns)
        first = [pa.field(free_name("index", names), pa.int64(), nullable=False)]
        if has_keys:
            first.append(pa.field(free_name("group", [*names, first[0].name]), pa.string()))
        last = []
        if has_failures:
            taken = [*names, *(field.name for field in first)]
            last.append(pa.field(free_name("error", taken), pa.string()))
        self._has_keys, self._has_failures = has_keys, has_failures
        self.schema = pa.schema([*first, *types, *last])
        self._most = max(1, min(ROWS_AT_ONCE, CELLS_AT_ONCE // len(self.schema)))
        self._indexes: list[int] = []
        self._keys: list[str | None] = []
        self._cells: list[dict[str, Any]] = []
        self._errors: list[str | None] = []

    def add(self, part: Part) -> Iterator[pa.Table]:
        """Take calls in; yield what is enough for a batch."""
        for at, value in enumerate(part.values):
            index = part.start + at
            rows = self._rows.of(value)
            count = len(rows)
            self._indexes += [index] * count
            self._cells += rows
            if self._has_keys:
                self._keys += [part.keys[at] if at < len(part.keys) else None] * count
            if self._has_failures:
                self._errors += [part.failed.get(str(index)) if value is None else None] * count
            while len(self._cells) >= self._most:
                yield self._taken(self._most)

    def rest(self) -> Iterator[pa.Table]:
        """Yield what is left."""
        if self._cells:
            yield self._taken(len(self._cells))

    def _taken(self, count: int) -> pa.Table:
        cells = self._cells[:count]
        columns: list[Any] = [self._indexes[:count]]
        if self._has_keys:
            columns.append(self._keys[:count])
        for name, shape in self._columns.items():
            values = [row.get(name) for row in cells]
            if shape.needs_floats:
                values = [with_floats(value, shape) for value in values]
            columns.append(values)
        if self._has_failures:
            columns.append(self._errors[:count])
        arrays = [
            pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)
        ]
        for kept in (self._indexes, self._keys, self._cells, self._errors):
            del kept[:count]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def arrow_type(shape: Shape) -> pa.DataType:
    """Return the type that all values of a shape have; null if there are none."""
    match _family(shape):
        case "bool":
            return pa.bool_()
        case "str":
            return pa.string()
        case "int":
            return pa.int64() if shape.high < 1 << 63 else pa.uint64()
        case "float":
            return pa.float64()
        case "list":
            return pa.list_(pa.null() if shape.items is None else arrow_type(shape.items))
        case "dict":
            return pa.struct([(name, arrow_type(m)) for name, m in shape.members.items()])
        case _:
            return pa.null()


def _family(shape: Shape) -> str:
    kinds = {kind.__name__ for kind in shape.kinds}
    if kinds <= {"int", "float"} and kinds:
        return "float" if shape.is_float else "int"
    return next(iter(kinds), "null")


def check_parquet(shape: Shape) -> None:
    """Look whether Parquet has a type for it. Raises Untyped."""
    if dict in shape.kinds and not shape.members:
        raise Untyped(
            f'the column "{shape.path}" holds empty objects alone, which only an Arrow stream can'
        )
    for inner in (*shape.members.values(), *((shape.items,) if shape.items else ())):
        check_parquet(inner)


def looked_through(file: IO[bytes], form: str) -> Rows:
    """Find the columns and their types. Raises Untyped."""
    rows = Rows()
    why: Untyped | None = None
    for part in parts(file):
        if why is None:
            try:
                rows.add(part.values)
            except Untyped as exc:
                why = exc  # what else comes is read, so that the server need not stop in mid-frame
    if why is not None:
        raise why
    rows.end()
    if form == PARQUET:
        for shape in rows.columns.values():
            check_parquet(shape)
    return rows


def writer_of(form: str, sink: Sink, schema: pa.Schema) -> Writer:
    """Open a file of a form."""
    is_arrow = form == ARROW
    writer: Writer = pa.ipc.new_stream(sink, schema) if is_arrow else pq.ParquetWriter(sink, schema)
    return writer


def convert(source: IO[bytes], target: IO[bytes], form: str, *has: str) -> None:
    """Read frames twice over; write the verdict, and the file.

    Args:
        has: of `KEYED` and `FAILING`, those that apply.
    """
    try:
        rows = looked_through(source, form)
    except Untyped as exc:
        target.write(json.dumps({"why": str(exc)}).encode() + b"\n")
        target.flush()
        return
    target.write(b'{"why":null}\n')
    target.flush()
    table = Table(rows, has_keys=KEYED in has, has_failures=FAILING in has)
    writer = writer_of(form, Sink(target), table.schema)
    for part in parts(source):
        for batch in table.add(part):
            writer.write_table(batch)
    for batch in table.rest():
        writer.write_table(batch)
    writer.close()
    target.flush()


if __name__ == "__main__":
    try:
        os.nice(NICENESS)
        convert(sys.stdin.buffer, sys.stdout.buffer, *sys.argv[1:])
    except (EOFError, BrokenPipeError):
        os._exit(1)  # nobody is there any more
