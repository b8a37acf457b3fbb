"""Rows for a run without a server: a file of a table, cut into calls as the server cuts them.

The server has DuckDB read, sort and name groups; here pyarrow does, of whatever environment runs
the function. Where the two would differ, this side does it DuckDB's way: an empty field is a null
and nothing else is, nulls sort last and NaN before them, a group's key is written as SQL casts it.
"""

from __future__ import annotations

import array
import datetime as dt
import decimal
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from fanfold_runtime.charsets import TEXT_FORMS, NotText, in_utf8

_DELIMITERS = (",", ";", "\t", "|")
_MAX_HEADER = 1 << 20
_ARROW_FILE = b"ARROW1"
_ROW = "fanfold_row"
_EXACT = 1 << 53
_MOST_DIGITS = 38
_WHOLE = re.compile(r"\s*[+-]?\d+\s*\Z")


class Unusable(Exception):
    """The file cannot be read, or is not cut as was asked; the text is for a person."""


class Cut:
    """Rows on the disk, and where each call's begin.

    Attributes:
        file: path of an Arrow file.
        offsets: path of the edges, as a RUN with CUT has them; None: one call with all rows.
        keys: of the groups, in the order of calls; None without groups.
        calls: how many there are.
    """

    def __init__(self, file: str, offsets: str | None, keys: list[str] | None, calls: int) -> None:
        self.file = file
        self.offsets = offsets
        self.keys = keys
        self.calls = calls


def cut(spec: dict[str, Any], folder: str) -> Cut:
    """Read a file and write what the workers map.

    Args:
        spec: `path` and `form` (csv, parquet, ndjson, arrow) of the file, and of text its
            `charset`, empty if it is UTF-8 or says so itself; `rows` of a chunk, or columns
            `by` which there are groups, and `order`, by which the input is sorted first; all
            empty for one call.
        folder: to write to.

    Raises:
        Unusable: says what is wrong.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.ipc
    except ImportError as exc:
        raise Unusable(
            "rows need pyarrow and pandas, which %s does not have (%s): name an interpreter that "
            "has them with --python" % (sys.executable, exc)
        ) from None
    path, form = spec["path"], spec["form"]
    try:
        if form in TEXT_FORMS:
            path = in_utf8(path, spec["charset"], folder)
        table = _read(pa, path, form)
        if form in TEXT_FORMS:
            table = _exact(pa, table, path, form)
        table = _decoded(pa, table, form)
    except (pa.ArrowException, OSError, NotText) as exc:
        what = "%s cannot be read as %s" % (os.path.basename(spec["path"]), spec["form"])
        raise Unusable("%s: %.300s" % (what, exc)) from None
    starts: list[int] | None = None
    keys: list[str] | None = None
    if spec["by"]:
        by = _resolved(table.column_names, spec["by"], "group-by")
        order = _resolved(table.column_names, spec["order"], "order-by")
        table = _sorted(pa, table, order or by)
        starts, keys = _groups(table, by, numbered=bool(order))
    elif spec["rows"]:
        starts = list(range(0, table.num_rows, spec["rows"]))
    file = os.path.join(folder, "rows")
    with pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    if starts is None:
        return Cut(file, None, None, 1)
    with open(file + ".offsets", "wb") as edges:
        array.array("Q", [*starts, table.num_rows]).tofile(edges)
    return Cut(file, file + ".offsets", keys, len(starts))


def _read(pa: Any, path: str, form: str) -> Any:
    if form == "csv":
        import pyarrow.csv

        return _read_csv(pyarrow.csv, path)
    if form == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path)
    if form == "ndjson":
        import pyarrow.json

        return pyarrow.json.read_json(path)
    with open(path, "rb") as file:
        is_file = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    opened = pa.ipc.open_file if is_file else pa.ipc.open_stream
    with opened(path) as reader:
        return reader.read_all()


def _read_csv(csv: Any, path: str, **options: Any) -> Any:
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True, **options
        ),
    )


def _exact(pa: Any, table: Any, path: str, form: str) -> Any:
    """Keep whole numbers that were guessed to be floats, as the server does, or refuse them."""
    for i, field in enumerate(table.schema):
        ends = pa.compute.min_max(table.column(i)).as_py() if field.type == pa.float64() else {}
        if max(abs(ends.get("min") or 0), abs(ends.get("max") or 0)) < _EXACT:
            continue
        texts = _texts(pa, path, form, field.name)
        whole = [text for text in texts if text is not None and _WHOLE.match(text)]
        lost = next((text for text in whole if not _is_kept(text)), None)
        if lost is None:
            continue
        if len(whole) < sum(text is not None for text in texts) or any(
            len(text.strip().lstrip("+-0")) > _MOST_DIGITS for text in whole
        ):
            raise Unusable(
                "the column %r holds the whole number %.40s, which no float is equal to, beside "
                "floats or with more than 38 digits: if it may be rounded, write it as a float "
                "(with .0); else as text" % (field.name, lost.strip())
            )
        wide = [None if text is None else decimal.Decimal(int(text)) for text in texts]
        wanted = pa.decimal128(38, 0)
        table = table.set_column(i, field.with_type(wanted), pa.array(wide, wanted))
    return table


def _texts(pa: Any, path: str, form: str, name: str) -> list[str | None]:
    """Read a column of numbers again, as it is written."""
    if form == "csv":
        types = {name: pa.string()}
        read = _read_csv(pa.csv, path, include_columns=[name], column_types=types)
        texts: list[str | None] = read.column(0).to_pylist()
        return texts
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line, parse_int=str) for line in file if line.strip()]
    cells = [row.get(name) for row in rows]
    return [repr(cell) if isinstance(cell, float) else cell for cell in cells]


def _is_kept(text: str) -> bool:
    """Tell whether a float is what was written: equal to it, or by itself written like it."""
    held = float(text)
    return math.isfinite(held) and int(text) in {int(held), int(decimal.Decimal(repr(held)))}


def _delimiter(path: str) -> str:
    """Choose what stands most often in the first line, as the server does."""
    with open(path, "rb") as file:
        first = file.readline(_MAX_HEADER)
    return max(_DELIMITERS, key=lambda delimiter: first.count(delimiter.encode()))


def _decoded(pa: Any, table: Any, form: str) -> Any:
    """Give columns the types that they have in the server's tables."""
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            raise Unusable("there are two columns named %r" % name)
    for i, field in enumerate(table.schema):
        kind = field.type
        wanted = kind
        if pa.types.is_dictionary(kind):
            wanted = kind.value_type
        elif pa.types.is_null(kind):
            wanted = pa.string()
        elif pa.types.is_timestamp(kind) and (kind.unit == "s" or form in {"csv", "ndjson"}):
            wanted = pa.timestamp("us", kind.tz)
        elif pa.types.is_time(kind):
            wanted = pa.time64("us")
        if wanted != kind:
            table = table.set_column(i, field.with_type(wanted), table.column(i).cast(wanted))
    return table.replace_schema_metadata(None)


def _resolved(names: Sequence[str], wanted: str, option: str) -> list[str]:
    """Find columns by name, without regard to case unless that is needed to tell them apart."""
    found = []
    for part in re.split(r"\s*,\s*", wanted.strip()) if wanted.strip() else []:
        quoted = len(part) > 1 and part[0] == part[-1] == '"'
        name = part[1:-1].replace('""', '"') if quoted else part
        alike = [each for each in names if each == name] or [
            each for each in names if each.lower() == name.lower()
        ]
        if not alike:
            there = ", ".join(names[:100]) or "none"
            raise Unusable("--%s names the column %r; there are: %s" % (option, name, there))
        found.append(alike[0])
    return found


def _sorted(pa: Any, table: Any, columns: Sequence[str]) -> Any:
    """Sort rows; those that are equal keep their order."""
    numbered = table.append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    keys = [(name, "ascending") for name in dict.fromkeys([*columns, _ROW])]
    try:
        order = pa.compute.sort_indices(numbered, sort_keys=keys, null_placement="at_end")
    except pa.ArrowException as exc:
        raise Unusable("rows cannot be sorted by %s: %s" % (", ".join(columns), exc)) from None
    return table.take(order)


def _groups(table: Any, by: Sequence[str], *, numbered: bool) -> tuple[list[int], list[str]]:
    """Find where a group begins, and name each."""
    columns = [table.column(name).to_pylist() for name in by]
    rows = list(zip(*[map(_comparable, column) for column in columns]))
    starts = [at for at, row in enumerate(rows) if at == 0 or row != rows[at - 1]]
    keys = ["_".join(_text(column[at]) for column in columns) for at in starts]
    if numbered and len(set(keys)) < len(keys):
        runs: dict[str, Iterator[int]] = {}
        keys = ["%s_%d" % (key, next(runs.setdefault(key, count(1)))) for key in keys]
    return starts, _unique(keys)


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and value != value else (value,)  # noqa: PLR0124  # NaN


def _text(value: Any) -> str:
    """Write a value as SQL casts it to text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        text = value.astimezone(dt.timezone.utc) if value.tzinfo else value
        written = text.strftime("%Y-%m-%d %H:%M:%S")
        if value.microsecond:
            written += (".%06d" % value.microsecond).rstrip("0")
        return written + ("+00" if value.tzinfo else "")
    if isinstance(value, dt.time) and value.microsecond:
        return value.isoformat().rstrip("0")
    return str(value)


def _unique(keys: list[str]) -> list[str]:
    """Tell apart groups whose keys read alike, as null and 'null' do."""
    taken = set(keys)
    if len(taken) == len(keys):
        return keys
    seen: set[str] = set()
    unique = []
    for key in keys:
        name, number = key, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = "%s (%d)" % (key, number)
        seen.add(name)
        unique.append(name)
    return unique
