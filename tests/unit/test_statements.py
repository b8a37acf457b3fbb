"""The gate before databases of others, word by word."""

from __future__ import annotations

import pytest

from fanfold_server.model.data_source import SourceKind
from fanfold_server.model.errors import InvalidQuery
from fanfold_server.rows import statements
from tests.contract.attacks import ATTACKS, HARMLESS, OF_THE_DATABASE

PASSES = [
    "SELECT 1 AS a",
    "select 1 as a ;",
    "( SELECT 1 AS a )",
    "WITH t AS (SELECT 1 AS a) SELECT * FROM t",
    "VALUES (1)",
    "SELECT 'DELETE FROM iris; --' AS a",
    'SELECT 1 AS "delete"',
    "SELECT 'it''s' AS a -- a comment; DELETE",
    "SELECT /* ; DELETE */ 1 AS a",
    "SELECT replace('a', 'a', 'b') AS a",
    'SELECT id AS "a;b" FROM iris',
]


@pytest.mark.parametrize("kind", SourceKind)
@pytest.mark.parametrize("asked", [a for a in ATTACKS if a not in OF_THE_DATABASE])
def test_the_gate_refuses_what_is_no_query(asked: str, kind: SourceKind) -> None:
    # PostgreSQL's comments nest: there, it is all one.
    is_comment = kind is SourceKind.POSTGRESQL and "/* /*" in asked
    if asked in HARMLESS or is_comment:
        assert statements.inspect(kind, asked)
        return
    with pytest.raises(InvalidQuery):
        statements.inspect(kind, asked)


@pytest.mark.parametrize("kind", SourceKind)
@pytest.mark.parametrize("asked", PASSES)
def test_the_gate_lets_queries_pass(asked: str, kind: SourceKind) -> None:
    assert statements.inspect(kind, asked)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (SourceKind.SQLALCHEMY, "SELECT '\\' AS a, '; DELETE FROM iris; --'"),
        (SourceKind.SQLALCHEMY, "SELECT /*! 1; */ 2"),
        (SourceKind.SQLALCHEMY, "SELECT 1 --1"),
        (SourceKind.SQLALCHEMY, "SELECT 1 # '\n; DELETE FROM iris #'"),
        (SourceKind.SQLALCHEMY, "SELECT [']; DELETE FROM iris; SELECT [']"),
        (SourceKind.SQLALCHEMY, "SELECT q'[ ' ]', '; DELETE'"),
        (SourceKind.SQLALCHEMY, "SELECT $$ ' $$, '; DELETE'"),
        (SourceKind.SQLALCHEMY, "SELECT /* /* */ 1"),
        (SourceKind.ORACLE, "SELECT utl_http.request('http://x') FROM dual"),
        (SourceKind.ORACLE, "SELECT * FROM iris@elsewhere"),
        (SourceKind.ORACLE, "WITH FUNCTION f RETURN NUMBER IS BEGIN RETURN 1; END; SELECT 1"),
        (SourceKind.ORACLE, "BEGIN DELETE FROM iris; END;"),
        (SourceKind.ORACLE, "SELECT * FROM v$session"),
        (SourceKind.ORACLE, "SELECT HTTPURITYPE('http://x').getclob() FROM dual"),
    ],
)
def test_what_dialects_read_in_different_ways_is_refused(kind: SourceKind, asked: str) -> None:
    with pytest.raises(InvalidQuery):
        statements.inspect(kind, asked)


def test_strings_of_each_dialect_hide_nothing() -> None:
    """These hold a semicolon or a word as text; taken for words they would be refused."""
    for kind, asked in (
        (SourceKind.ORACLE, "SELECT q'[it's; DELETE]' AS a FROM dual"),
        (SourceKind.POSTGRESQL, "SELECT E'it\\'s; DELETE' AS a"),
        (SourceKind.POSTGRESQL, "SELECT $t$it's; DELETE$t$ AS a"),
        (SourceKind.POSTGRESQL, "SELECT /* /* */ ; DELETE */ 1 AS a"),
        (SourceKind.SQLITE, "SELECT [a;b] FROM iris"),
    ):
        assert statements.inspect(kind, asked) == asked
