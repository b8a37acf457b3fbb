"""The rows of a run: mapped files, and the slice of each call in the type that was asked for.

Nothing is copied but the slice that a call is given, which is the call's own: it may write into it.
A column has one type in every call of a run, whatever a slice happens to hold:

    whole numbers          int64; with a null somewhere float64 and NaN (`Int64` if one is beyond
                           2**53, which a float cannot hold)
    decimals               int64 if whole and small enough, float64 up to 15 digits, else `Decimal`
    dates, times           datetime64, with its zone; times of day are `datetime.time`
    text, binary, nested   text, bytes, lists and dicts; a null is None or NaN, as pandas has it
    booleans               bool; with a null somewhere objects True, False, None
"""

from __future__ import annotations

import array
import gc
import mmap
import os
import socket
import sys
from bisect import bisect_right
from typing import Any

from fanfold_runtime import protocol as p
from fanfold_runtime.channel import Closed

_EXACT = 1 << 53
"""Whole numbers up to here are floats without loss."""

_FLOAT_DIGITS = 15
"""Decimals of so many digits come back from a float as they were."""

_BLOCK_CELLS = 1 << 18
"""So many cells are converted at once, for the calls to come, if calls have fewer."""

_INT64 = (-(1 << 63), (1 << 63) - 1)


class NoArrow(Exception):
    """The environment lacks what reads rows."""


class UnreadableRows(Exception):
    """A column cannot be handed to a function."""


def receive_files(side: socket.socket) -> list[int]:
    """Return the descriptors that the server has sent for the run that begins. Raises Closed."""
    while True:
        data, files = receive(side.recvmsg)
        if data == p.FILES:
            return files
        for file in files:  # of an answer for which nobody waits any more
            os.close(file)


def receive(recvmsg: Any) -> tuple[bytes, list[int]]:
    """Return a message from the second socket, and the descriptors with it. Raises Closed."""
    room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
    data, ancillary, _, _ = recvmsg(p.ASK_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    if not data:
        raise Closed
    files = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            files.frombytes(content[: len(content) - len(content) % files.itemsize])
    return data, files.tolist()


def _map(file: int) -> mmap.mmap:
    """Map a file for reading, and close its descriptor."""
    try:
        return mmap.mmap(file, 0, prot=mmap.PROT_READ)
    finally:
        os.close(file)


class Rows:
    """Gives each call its rows.

    Args:
        files: descriptors of the Arrow file and, with CUT, of the offsets; they are closed.
        flags: of the RUN frame.

    Attributes:
        last: no call after this one is to be expected: its rows are not converted ahead.

    Raises:
        NoArrow: the environment has no pyarrow, numpy or, where it is needed, pandas.
    """

    def __init__(self, files: list[int], flags: int) -> None:
        self._maps = [_map(file) for file in files]
        self._pa: Any = _module("pyarrow")
        self._np: Any = _module("numpy")
        reader = self._pa.ipc.open_file(self._pa.BufferReader(self._pa.py_buffer(self._maps[0])))
        self._table: Any = reader.read_all()
        self._offsets = memoryview(self._maps[1]).cast("Q") if flags & p.CUT else None
        self.last = 1 if self._offsets is None else len(self._offsets) - 1
        self._na_omit = bool(flags & p.NA_OMIT)
        self._as_records = bool(flags & p.AS_RECORDS)
        columns = [_Column(self._pa, self._table.column(i)) for i in range(len(self._table.schema))]
        self._columns = columns
        self._as_array = not flags & (p.AS_FRAME | p.AS_RECORDS) and all(
            column.is_number for column in columns
        )
        if not self._as_array:
            self._pd: Any = _module("pandas")
            self._names = self._pd.Index(self._table.column_names)
        self._block: tuple[int, int, Any] = (0, -1, None)
        self._all_float = all(column.is_plain_float for column in columns)

    def of(self, index: int) -> Any:
        """Return the rows of a call: an array, a DataFrame or a record array.

        Raises:
            UnreadableRows: names the column that cannot be carried.
        """
        start, end = 0, self._table.num_rows
        if self._offsets is not None:
            start, end = self._offsets[index - 1], self._offsets[index]
        if self._as_array:
            values = self._slice(start, end)
            return values[~self._np.isnan(values).any(axis=1)] if self._na_omit else values
        frame = self._slice(start, end)
        if self._na_omit:
            frame = frame.dropna().reset_index(drop=True)
        return frame.to_records(index=False) if self._as_records else frame

    def _slice(self, start: int, end: int) -> Any:
        """Return rows as an array or a DataFrame of the caller's own.

        Small calls are cut out of a block that was converted at once: that costs a call a tenth.
        """
        if self._offsets is None:
            return self._converted(start, end, is_own=True)
        if not self._block[0] <= start <= end <= self._block[1]:
            self._block = (0, -1, None)  # its memory is the next one's
            ahead = min(start + _BLOCK_CELLS // len(self._columns), self._offsets[self.last])
            last = self._offsets[bisect_right(self._offsets, ahead) - 1]  # a call's end
            if last <= end:
                return self._converted(start, end, is_own=True)
            self._block = (start, last, self._converted(start, last, is_own=False))
        first, _, block = self._block
        if self._as_array:
            return block[start - first : end - first].copy()
        frame = block.iloc[start - first : end - first].copy()
        frame.index = self._pd.RangeIndex(end - start)
        return frame

    def _converted(self, start: int, end: int, *, is_own: bool) -> Any:
        """Return rows as an array or a DataFrame, which need not be for anybody to write into."""
        table = self._table.slice(start, end - start)
        if not self._as_array:
            return self._frame(table, is_own)
        columns = self._array(table).T
        return columns.copy() if is_own else columns

    def _array(self, table: Any) -> Any:
        """Return the columns as rows of a float64 array."""
        values = self._np.empty((table.num_columns, table.num_rows))
        for i, column in enumerate(self._columns):
            at = 0
            for chunk in table.column(i).chunks:
                end = at + len(chunk)
                values[i, at:end] = column.floats(chunk)
                at = end
        return values

    def _frame(self, table: Any, is_own: bool) -> Any:
        if self._all_float:
            return self._pd.DataFrame(self._array(table).T, columns=self._names, copy=False)
        given = table
        for i, column in enumerate(self._columns):
            if column.target is not None:
                cast = given.column(i).cast(column.target, safe=False)
                given = given.set_column(i, given.schema.field(i).with_type(column.target), cast)
        try:
            frame = self._to_pandas(given)
        except Exception as exc:
            raise self._blamed(given) or exc from None
        for i, column in enumerate(self._columns):
            if column.is_wide:
                found = frame.iloc[:, i]
                exact = self._pd.array(given.column(i).to_pylist(), dtype="Int64")
                frame.isetitem(i, self._pd.Series(exact, index=found.index))
            elif column.is_object:
                frame.isetitem(i, frame.iloc[:, i].astype(object))
        # a column that is alone of its type may be a view of the file, which nobody can write into
        return frame.copy() if is_own else frame

    def _to_pandas(self, table: Any) -> Any:
        return table.to_pandas(
            use_threads=False,
            date_as_object=False,
            ignore_metadata=True,
            maps_as_pydicts="lossy",
        )

    def _blamed(self, table: Any) -> UnreadableRows | None:
        """Return the error that names the first column that cannot be carried."""
        for i, name in enumerate(table.column_names):
            try:
                self._to_pandas(table.select([i]))
            except Exception as exc:
                return UnreadableRows(
                    "the column %r of type %s cannot be handed to a function: %.200s"
                    % (name, table.schema.field(i).type, exc)
                )
        return None

    def close(self) -> None:
        """Let go of the files; what somebody still holds of them keeps a descriptor open."""
        if self._offsets is not None:
            self._offsets.release()
            self._offsets = None
        self._table = self._block = None  # type: ignore[assignment]  # it is over
        self._columns = []
        for mapped in self._maps:
            if not _closed(mapped):
                gc.collect()  # a cycle of the script's may hold a view
                _closed(mapped)
        self._maps = []


def _closed(mapped: mmap.mmap) -> bool:
    try:
        mapped.close()
    except BufferError:
        return False
    return True


class _Column:
    """How a column reaches a function; decided by all of its rows, not by those of one call.

    Attributes:
        is_number: it may be a column of a float64 array.
        is_plain_float: it is one already.
        target: the Arrow type to which slices are cast before pandas gets them; None: as it is.
        is_wide: whole numbers with nulls that floats cannot hold.
        is_object: booleans with nulls.
    """

    __slots__ = ("_pa", "is_number", "is_object", "is_plain_float", "is_wide", "target")

    def __init__(self, pa: Any, column: Any) -> None:
        types, kind = pa.types, column.type
        nulls = column.null_count
        self._pa = pa
        self.is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        self.is_plain_float = kind == pa.float64() and not nulls
        self.target: Any = None
        self.is_wide = False
        self.is_object = bool(types.is_boolean(kind) and nulls)
        if types.is_decimal(kind):
            self.target = self._decimal(column, nulls)
        elif types.is_integer(kind) and nulls:
            self.is_wide = not _within(pa, column, -_EXACT, _EXACT)
            self.target = None if self.is_wide else pa.float64()
        elif types.is_date(kind):
            self.target = pa.timestamp("us" if kind == pa.date32() else "ms")

    def _decimal(self, column: Any, nulls: int) -> Any:
        pa, kind = self._pa, column.type
        if kind.scale == 0 and _within(pa, column, *_INT64):
            if not nulls:
                return pa.int64()
            self.is_wide = not _within(pa, column, -_EXACT, _EXACT)
            return pa.int64() if self.is_wide else pa.float64()
        return pa.float64() if kind.precision <= _FLOAT_DIGITS else None

    def floats(self, chunk: Any) -> Any:
        """Return a chunk of numbers as something that a float64 array takes; nulls are NaN."""
        if self._pa.types.is_decimal(chunk.type):
            chunk = chunk.cast(self._pa.float64(), safe=False)
        return chunk.to_numpy(zero_copy_only=False)


def _within(pa: Any, column: Any, low: int, high: int) -> bool:
    """Say whether every value of a column is in the range."""
    ends = pa.compute.min_max(column).as_py()
    return ends["min"] is None or (low <= ends["min"] and ends["max"] <= high)


def _module(name: str) -> Any:
    """Import a module of the environment's. Raises NoArrow."""
    try:
        __import__(name)
        if name == "pyarrow":
            import pyarrow.compute
            import pyarrow.ipc  # noqa: F401
    except ImportError as exc:
        raise NoArrow(
            "rows need the package %s, which this environment does not have (%s): add it there, or "
            "run in another environment" % (name, exc)
        ) from None
    return sys.modules[name]
