"""The gate: which statements of a user may run.

Nothing here makes a statement safe by itself. It runs in an instance of its own (`instance.py`)
that holds what its reader may read and nothing else, opened read-only, with its settings locked;
so that whatever passes here by mistake finds nothing to take or to harm. The gate refuses, in this
order: what is not one statement of type SELECT by DuckDB's own parser; table functions that are not
known to be harmless (among the others are some that take a pointer); catalogue views; a part that
is no query, such as a DELETE inside a WITH (the statement's type is SELECT, too); what cannot be
bound as a subquery. It then runs in a read-only transaction that is rolled back.

Source: DuckDB's "Securing DuckDB"; choices by trial, each statement is in `tests/contract`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from fanfold_server.model.errors import (
    CallerError,
    InvalidQuery,
    QueryTimedOut,
    QueryTooLarge,
    UnknownTable,
    UnsupportedColumn,
)
from fanfold_server.rows.statements import check_text

MAX_MESSAGE: Final = 600

TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"}
)
"""What may stand in a FROM: functions that make rows of their arguments."""

REFUSED_FUNCTIONS: Final = frozenset(
    {"current_setting", "getenv", "getvariable", "nextval", "currval", "write_log", "which_secret"}
)
"""Scalars that tell of the server or leave something behind."""

_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a statement that read. A part that writes, in a WITH that nothing refers to, is bound
by nobody, and runs as little; it is refused all the same."""

_CATALOGUES: Final = frozenset({"information_schema", "pg_catalog"})
_CATALOGUE_NAME: Final = re.compile(r"(duckdb|pragma|sqlite|pg)_", re.IGNORECASE)
_IDENTIFIER: Final = r'(?:[^\W\d][\w$#]*|"(?:[^"\x00]|"")+")'
_TABLE_NAME: Final = re.compile(rf"\s*({_IDENTIFIER})(?:\s*\.\s*({_IDENTIFIER}))?\s*;?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A table that a statement names, as it spells it; `schema` is None if it names none."""

    schema: str | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A statement that passed the parser: its text without what ends it, and what it names."""

    text: str
    references: tuple[Reference, ...]


def inspect(parser: duckdb.DuckDBPyConnection, text: str) -> Inspected:
    """Read a query without running it.

    Args:
        parser: a connection that holds nothing.
        text: a SELECT statement or the bare name of a table.

    Raises:
        InvalidQuery: it is not exactly one SELECT, or calls what it may not.
        UnknownTable: it asks for a catalogue.
    """
    check_text(text)
    if (bare := _TABLE_NAME.fullmatch(text)) is not None:
        return _table(bare)
    try:
        text = _only_statement(parser, text)
        found = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
        assert found is not None
        tree = json.loads(found[0])
    except duckdb.Error as exc:
        raise translate(exc) from exc
    except RecursionError as exc:
        raise InvalidQuery("The query is nested too deeply.") from exc
    if tree["error"]:
        raise InvalidQuery(f"The query cannot be read: {tree.get('error_message')}")
    if len(tree["statements"]) != 1:
        raise InvalidQuery
    return Inspected(text=text, references=tuple(_references(tree)))


def bind(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Prove that an inspected statement can be a subquery, which nothing that writes can.

    Raises:
        InvalidQuery, UnknownTable: it cannot be bound.
    """
    try:
        connection.execute(f"EXPLAIN SELECT * FROM ({text}\n)").fetchall()
    except duckdb.Error as exc:
        raise translate(exc) from exc


def quoted(name: str) -> str:
    """Write a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def translate(exc: duckdb.Error) -> CallerError:
    """Say what went wrong in a user's query as an error of ours."""
    text = str(exc)
    match exc:
        case duckdb.InterruptException():
            return QueryTimedOut()
        case duckdb.OutOfMemoryException():
            return QueryTooLarge(
                "The query needs more memory than this server gives to one; select fewer columns "
                "or rows, or aggregate first."
            )
        case duckdb.CatalogException() if named := re.search(
            r"Table with name (.+?) does not exist", text
        ):
            name = named[1].strip('"')
            return UnknownTable(f'There is no table "{name}" that you may read.', table=name)
        case duckdb.PermissionException() if named := re.search(r'access file "(.+?)"', text):
            return InvalidQuery(
                f'The query names the file "{named[1]}", and it has to name tables: load the file '
                "as one first. The client and fanfold run do so for a file that is there; the "
                "client is given it as a Path."
            )
        case duckdb.NotImplementedException() if "Arrow" in text or "arrow" in text:
            return UnsupportedColumn(_plain(text))
        case _:
            return InvalidQuery(f"The query cannot be run: {_plain(text)}")


def _table(bare: re.Match[str]) -> Inspected:
    """Make a query of a table's bare name."""
    first, second = (_unquoted(part) for part in bare.groups())
    assert first is not None
    schema, name = (None, first) if second is None else (first, second)
    _check_name(schema, name)
    path = quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"
    reference = Reference(schema=schema, name=name)
    return Inspected(text=f"SELECT * FROM {path}", references=(reference,))


def _unquoted(part: str | None) -> str | None:
    if part is None or not part.startswith('"'):
        return part
    return part[1:-1].replace('""', '"')


def _only_statement(parser: duckdb.DuckDBPyConnection, text: str) -> str:
    """Refuse anything but one SELECT, and cut off the semicolon and what follows it."""
    statements = parser.extract_statements(text)
    if len(statements) != 1:
        raise InvalidQuery(f"The query has {len(statements)} statements; it has to be one SELECT.")
    (statement,) = statements
    if statement.type != duckdb.StatementType.SELECT:
        kind = str(statement.type).rpartition(".")[2]
        raise InvalidQuery(f"The query is a statement of type {kind}; it has to be a SELECT.")
    if statement.named_parameters:
        raise InvalidQuery("The query has parameters ($1, ?, $name); write the values into it.")
    encoded = statement.query.encode()
    # Offsets count bytes.
    for offset, token in duckdb.tokenize(statement.query):
        if token == duckdb.token_type.operator and encoded[offset : offset + 1] == b";":
            return encoded[:offset].decode()
    return str(statement.query)


def _references(tree: dict[str, Any]) -> Iterator[Reference]:
    """Walk the parsed statement: yield the tables, refuse what may not be called."""
    for node in _nodes(tree):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERIES:
            word = kind.partition("_")[0]
            raise InvalidQuery(f"The query has to be a SELECT in all of its parts; one is {word}.")
        if kind == "SHOW_REF":
            raise InvalidQuery("The query has to be a SELECT; SHOW and DESCRIBE are not.")
        if kind == "BASE_TABLE":
            if node.get("catalog_name"):
                raise UnknownTable(
                    f'There is no table "{node["catalog_name"]}.{node["schema_name"]}.'
                    f'{node["table_name"]}" that you may read.'
                )
            _check_name(node.get("schema_name") or None, node["table_name"])
            yield Reference(schema=node.get("schema_name") or None, name=node["table_name"])
        elif kind == "TABLE_FUNCTION":
            function = node["function"]
            name = str(function.get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS or function.get("schema"):
                allowed = ", ".join(sorted(TABLE_FUNCTIONS))
                raise InvalidQuery(
                    f'The query may not read from "{name}()"; only tables and {allowed}.'
                )
        elif node.get("class") == "FUNCTION":
            name = str(node.get("function_name", "")).lower()
            if name in REFUSED_FUNCTIONS:
                raise InvalidQuery(f'The query may not call "{name}()".')


def _check_name(schema: str | None, name: str) -> None:
    if (schema or "").lower() in _CATALOGUES or (
        schema is None and _CATALOGUE_NAME.match(name) is not None
    ):
        raise UnknownTable(f'There is no table "{name}" that you may read.', table=name)


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Yield every object in a tree of JSON; without recursion, which has a limit."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _plain(text: str) -> str:
    """Take what a person can use out of DuckDB's message: not our wrapping, nor our names."""
    text = re.split(r"\n\s*\n?LINE \d+:", text, maxsplit=1)[0].strip()
    text = re.sub(r"\n?Did you mean .*", "", text, flags=re.DOTALL)
    return text[:MAX_MESSAGE]
