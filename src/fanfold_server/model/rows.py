"""The user's rows, on their way from a table to the calls that get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final


class InputType(StrEnum):
    """In which type rows reach the function, as the compatible wire names it.

    `default` is a 2-D float64 array when every column is a number, else a DataFrame.
    """

    DEFAULT = "default"
    DATAFRAME = "pandas.DataFrame"
    RECARRAY = "numpy.recarray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What rows are asked for.

    Attributes:
        text: a SELECT statement, or the bare name of a table. Not checked yet.
        source: name of a registered database in upper case; None is the embedded one.
    """

    text: str
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rowset:
    """The rows of one request, in a file of their own, cut into calls.

    Attributes:
        path: an Arrow IPC *file*, uncompressed, so that it can be mapped; mode 0400, never written
            again. Whoever asked for the rowset releases it, once.
        rows: how many there are, ≥ 0.
        columns: their names, as the query gives them; unique.
        size_bytes: of the file.
        offsets: file of little-endian u64, n_calls + 1 of them: call i (from 0) has the rows
            offsets[i] … offsets[i + 1]. None: one call with all rows.
        keys: one a call, in call order, as the compatible wire spells them; unique. None: the calls
            are chunks, or it is all one.
        calls: how many there are, ≥ 0; 1 without `offsets`.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    size_bytes: int
    offsets: Path | None
    keys: tuple[str, ...] | None
    calls: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column of a table. `type` is SQL's name of it, such as "DOUBLE"."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInfo:
    """A table as it stands.

    Attributes:
        owner: account name in upper case, or PYQSYS for a table that everyone may read.
        name: in the case in which it was first loaded; matched without regard to case.
        file: holds its rows; another one after each loading.
        created: when these rows were loaded, aware, UTC.
    """

    owner: str
    name: str
    file: str
    rows: int
    size_bytes: int
    columns: tuple[ColumnType, ...]
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TableGrant:
    """Who else may read a table; `grantee` None means everyone."""

    grantee: str | None


class DataFormat(StrEnum):
    """In which form a table is sent."""

    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"
    ARROW = "arrow"


TEXT_FORMATS: Final = frozenset((DataFormat.CSV, DataFormat.NDJSON))

UTF_8: Final = "utf-8"

CHARSETS: Final[Mapping[str, str]] = {
    UTF_8: "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    **{f"windows-{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"iso-8859-{part}": f"iso8859-{part}" for part in range(1, 17) if part != 12},  # noqa: PLR2004
    **{name: name for name in ("koi8-r", "koi8-u", "gb18030", "big5", "shift_jis", "euc-jp")},
    "euc-kr": "euc-kr",
}
"""Names of IANA's under which text may be sent, and Python's codecs for them."""

_ALIASES: Final[Mapping[str, str]] = {
    "utf8": UTF_8,
    "us-ascii": UTF_8,
    "ascii": UTF_8,
    "latin-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "cp1252": "windows-1252",
    "gbk": "gb18030",
    "gb2312": "gb18030",
}


def charset_of(name: str) -> str | None:
    """Find a charset by its name or an alias of it, in any case; None: there is none."""
    folded = name.strip().lower()
    found = _ALIASES.get(folded, folded)
    return found if found in CHARSETS else None
