"""Whole numbers of text data in columns of floats: kept as wider integers, or refused.

DuckDB guesses DOUBLE for whole numbers that stand beside floats, and in JSON for those beyond 64
bits; some of their digits would be gone without a word. So the texts of such a column are looked at
again, which is rarely necessary: only where the floats are large enough to have lost any.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import duckdb

from fanfold_server.model.errors import InvalidTable
from fanfold_server.rows.gate import quoted
from fanfold_server.rows.instance import literal

EXACT: Final = 1 << 53
"""Up to here every whole number is a float."""

_FLOAT: Final = "DOUBLE"
_WIDEST: Final = "HUGEINT"
_WHOLE: Final = r"\s*[+-]?\d+\s*"
_LONG_WHOLE: Final = r"\s*[+-]?\d{16,}\s*"
_LONG: Final = r"\d{16}"
_AT_ONCE: Final = 1000
_SHOWN: Final = 40
_LATER: Final = "_1"

Texts = Callable[[str], str]
"""Of a column's name the SQL that reads that column alone, as text."""


def keep_whole(connection: duckdb.DuckDBPyConnection, table: str, texts: Texts) -> None:
    """See that every whole number of a table just made is what was sent.

    Raises:
        InvalidTable: a column of floats holds one that no float is equal to.
    """
    made = connection.sql(f"SELECT * FROM {table} LIMIT 0")
    for name, kind in zip(made.columns, made.types, strict=True):
        if kind == _FLOAT:
            lost = _lost(connection, table, name, texts)
            if lost is not None and not _widened(connection, table, name, texts):
                raise _refusal(name, lost)
        elif _FLOAT in str(kind):
            lost = _lost_inside(connection, name, kind, texts)
            if lost is not None:
                raise _refusal(name, lost)


def names_sent(name: str, names: Sequence[str]) -> list[str]:
    """List what a column may be called in JSON; its own name first.

    Names that differ only by case are two in JSON and one in SQL, so DuckDB calls the later one by
    a longer name: "A" beside "a" becomes "A_1". Inside of values it refuses them.
    """
    found, others = [name], {other.casefold() for other in names if other != name}
    shorter = name
    while shorter.endswith(_LATER):
        shorter = shorter.removesuffix(_LATER)
        if shorter in names:  # that one is itself, and this one is what it is called
            break
        if shorter.casefold() in others:
            found.append(shorter)
    return found


def _lost(connection: duckdb.DuckDBPyConnection, table: str, name: str, texts: Texts) -> str | None:
    """Find a whole number in a column of floats that lost digits."""
    column = quoted(name)
    top = connection.execute(f"SELECT max(abs({column})) >= {EXACT} FROM {table}").fetchone()
    if top is None or not top[0]:
        return None
    as_float = f"TRY_CAST(TRY_CAST({column} AS {_FLOAT}) AS {_WIDEST})"
    suspects = (
        f"{texts(name)} WHERE regexp_full_match({column}, {literal(_LONG_WHOLE)}) "
        f"AND CAST({as_float} AS VARCHAR) IS DISTINCT FROM {column}"
    )
    return next((text for text in _read(connection, suspects) if not _is_kept(text)), None)


def _lost_inside(
    connection: duckdb.DuckDBPyConnection, name: str, kind: Any, texts: Texts
) -> str | None:
    """Find one in a column whose values have floats in them."""
    suspects = f"{texts(name)} WHERE regexp_matches({quoted(name)}, {literal(_LONG)})"
    for text in _read(connection, suspects):
        for number in _floats_in(json.loads(text, parse_int=str), kind):
            if not _is_kept(number):
                return number
    return None


def _widened(connection: duckdb.DuckDBPyConnection, table: str, name: str, texts: Texts) -> bool:
    """Make a column of whole numbers alone one of wide integers; False: it is not such a column."""
    column = quoted(name)
    rows = (
        f"SELECT made.* REPLACE (TRY_CAST(sent.{column} AS {_WIDEST}) AS {column}) "
        f"FROM {table} made POSITIONAL JOIN ({texts(name)}) sent"
    )
    fits = (
        f"SELECT bool_and({column} IS NULL OR (regexp_full_match({column}, {literal(_WHOLE)}) "
        f"AND TRY_CAST({column} AS {_WIDEST}) IS NOT NULL)) FROM ({texts(name)})"
    )
    found = connection.execute(fits).fetchone()
    if found is None or not found[0]:
        return False
    connection.execute(f"CREATE TABLE {table}_wide AS {rows}")
    connection.execute(f"DROP TABLE {table}")
    connection.execute(f"ALTER TABLE {table}_wide RENAME TO {table.rpartition('.')[2]}")
    return True


def _read(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[str]:
    found = connection.execute(query)
    while rows := found.fetchmany(_AT_ONCE):
        yield from (row[0] for row in rows)


def _is_kept(text: str) -> bool:
    """Tell whether a float is what was written: equal to it, or by itself written like it.

    The latter is what JavaScript, for one, writes of a float of 17 to 21 digits.
    """
    try:
        held, sent = float(text), int(text)
    except ValueError:  # too many digits for Python
        return False
    return isfinite(held) and (int(held) == sent or int(Decimal(repr(held))) == sent)


def _floats_in(value: Any, kind: Any) -> Iterator[str]:
    """Yield the whole numbers of a value that its type has as floats; they are read as text."""
    match kind.id:
        case "double" if isinstance(value, str):
            yield value
        case "list" if isinstance(value, list):
            for part in value:
                yield from _floats_in(part, kind.children[0][1])
        case "struct" if isinstance(value, dict):
            for member, its in kind.children:
                yield from _floats_in(value.get(member), its)
        case "map" if isinstance(value, dict):
            for part in value.values():
                yield from _floats_in(part, kind.children[1][1])
        case _:
            return


def _refusal(name: str, number: str) -> InvalidTable:
    number = number.strip()
    shown = number if len(number) <= _SHOWN else f"{number[:_SHOWN]}…"
    return InvalidTable(
        f'The column "{name}" holds the whole number {shown}, which no float is equal to, '
        "beside floats or beyond 128 bits. If it may be rounded, write it as a float (with .0); "
        "else send it as text, or as a decimal of Parquet or Arrow.",
        column=name,
    )
