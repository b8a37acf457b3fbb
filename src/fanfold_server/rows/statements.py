"""The gate before databases of others: one statement, which reads.

What makes a query harmless there is not here: it is the registered account's rights, a read-only
transaction, and each adapter's own means (SQLite's authorizer, PostgreSQL's COPY, which takes
nothing but a query). This refuses, before anything is sent, what has no business in a query and
what would tell of the server or of other sessions; with a message that names it.

It reads words, not grammar: a word cannot be hidden from it, since whatever the dialects disagree
about (comments within comments, backslashes in strings, …) is refused where the dialect is not
known. Who has a column called "update" writes it in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from fanfold_server.model.data_source import SourceKind
from fanfold_server.model.errors import InvalidQuery

MAX_BYTES: Final = 64 * 1024
"""Longer texts are refused: a parser's and a planner's time grows with them, and not evenly."""

_FIRST: Final = frozenset({"select", "with", "values", "table"})
_REFUSED_WORDS: Final = frozenset(
    {"insert", "update", "delete", "merge", "into", "copy", "call", "exec", "execute", "attach",
     "detach", "pragma", "procedure", "truncate", "grant", "revoke"}
)  # fmt: skip
_REFUSED_FUNCTIONS: Final = frozenset(
    {"set_config", "current_setting", "nextval", "setval", "load_extension", "load_file",
     "readfile", "writefile", "fts3_tokenizer", "benchmark", "sleep", "get_lock", "sys_exec",
     "sys_eval", "openrowset", "openquery", "opendatasource", "httpuritype", "ts_stat",
     "sys_context"}
)  # fmt: skip
_REFUSED_NAMES: Final = re.compile(
    r"pg_|dblink|dbms_|utl_|xp_|v\$|gv\$|v_\$|dba_|owa_|"
    r"lo_(import|export|creat|create|unlink|put|get|from_bytea|open|truncate)$|"
    r"(query|cursor|table|schema|database)_to_xml"
)
_ALLOWED: Final = frozenset({"pg_typeof", "pg_column_size", "pg_size_pretty"})

_BLANK: Final = re.compile(r"\s+")
_LINE_COMMENT: Final = re.compile(r"--[^\n]*")
_NAME: Final = re.compile(r"[^\W\d][\w$]*")
_NUMBER: Final = re.compile(r"(?:\d[\w.]*|\.\d[\w.]*)")
_PLAIN_STRING: Final = re.compile(r"'(?:[^']|'')*'")
_ESCAPED_STRING: Final = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_QUOTED_NAME: Final = re.compile(r'"(?:[^"]|"")*"')
_BACKTICKED_NAME: Final = re.compile(r"`(?:[^`]|``)*`")
_BRACKETED_NAME: Final = re.compile(r"\[[^\]]*\]")
_DOLLAR_QUOTE: Final = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_ORACLE_CLOSING: Final = {"[": "]", "(": ")", "{": "}", "<": ">"}
_COMMENT_END: Final = re.compile(r"\*/|/\*")

_IDENTIFIER: Final = r'(?:[^\W\d][\w$#]*|"(?:[^"\x00]|"")+")'
_TABLE_NAME: Final = re.compile(rf"\s*({_IDENTIFIER}(?:\s*\.\s*{_IDENTIFIER}){{0,2}})\s*;?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """A part of a statement: `kind` is "word", "name" (in quotes), "text", "other" or "end"."""

    kind: str
    text: str
    start: int


def inspect(kind: SourceKind, text: str) -> str:
    """Read a query without running it.

    Args:
        kind: of the database that is to run it.
        text: a SELECT statement or the bare name of a table.

    Returns:
        The statement, without the semicolon that may end it.

    Raises:
        InvalidQuery: it is not exactly one SELECT, or names what it may not.
    """
    check_text(text)
    tokens = list(_tokens(kind, text))
    _check_names(tokens)
    if (bare := _TABLE_NAME.fullmatch(text)) is not None:
        return f"SELECT * FROM {bare[1]}"
    if not tokens:
        raise InvalidQuery("The query is empty.")
    ends = [token.start for token in tokens if token.kind == "end"]
    if ends:
        if any(token.start > ends[0] and token.kind != "end" for token in tokens):
            raise InvalidQuery("The query has several statements; it has to be one SELECT.")
        text = text[: ends[0]]
        tokens = [token for token in tokens if token.kind != "end"]
    _check_first(tokens)
    _check_words(tokens)
    _check_depth(tokens)
    return text


def check_text(text: str) -> None:
    """Refuse what is no query of any dialect: none, no text, or too much."""
    if not text.strip():
        raise InvalidQuery("The query is empty.")
    if "\x00" in text:
        raise InvalidQuery("The query contains a NUL character.")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidQuery("The query is not valid Unicode text.") from exc
    if size_bytes > MAX_BYTES:
        raise InvalidQuery(
            f"The query has {size_bytes} bytes; it may have {MAX_BYTES}.", limit_bytes=MAX_BYTES
        )


def _check_names(tokens: list[_Token]) -> None:
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.kind not in {"word", "name"}:
            continue
        name = token.text.lower()
        is_called = after is not None and after.text == "("
        refused = _REFUSED_NAMES.match(name) or (is_called and name in _REFUSED_FUNCTIONS)
        if refused and name not in _ALLOWED:
            raise InvalidQuery(f'The query may not use "{token.text}".')


def _check_first(tokens: list[_Token]) -> None:
    first = next((token for token in tokens if token.text != "("), None)
    word = first.text.lower() if first is not None and first.kind == "word" else ""
    if word not in _FIRST:
        shown = f'begins with "{first.text[:30]}"' if first is not None else "is empty"
        raise InvalidQuery(f"The query {shown}; it has to be one SELECT.")


def _check_words(tokens: list[_Token]) -> None:
    before = ""
    for token in tokens:
        word = token.text.lower() if token.kind == "word" else ""
        if word in _REFUSED_WORDS and before != ".":
            raise InvalidQuery(
                f"The query has the word {token.text.upper()}, which a SELECT has not; a name that "
                f'is spelled so has to be in quotes: "{token.text}".'
            )
        if before == "with" and word == "function":
            raise InvalidQuery("The query may not define functions.")
        before = token.text.lower()


def _check_depth(tokens: list[_Token]) -> None:
    depth = 0
    for token in tokens:
        if token.kind == "other":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            break
    if depth:
        raise InvalidQuery("The parentheses of the query do not match.")


# -------------------------------------------------------------------------------- words


def _tokens(kind: SourceKind, text: str) -> Iterator[_Token]:
    """Yield all that is not blank and no comment."""
    is_generic = kind is SourceKind.SQLALCHEMY
    at = 0
    while at < len(text):
        if (found := _BLANK.match(text, at)) is not None:
            at = found.end()
        elif text.startswith("--", at):
            at = _line_comment(text, at, is_generic=is_generic)
        elif text.startswith("/*", at):
            at = _comment(kind, text, at)
        else:
            token, at = _token(kind, text, at)
            yield token


def _token(kind: SourceKind, text: str, at: int) -> tuple[_Token, int]:
    is_generic = kind is SourceKind.SQLALCHEMY
    first = text[at]
    if first == "'":
        return _string(text, at, at, is_generic=is_generic)
    if (found := _NAME.match(text, at)) is not None:
        if text.startswith("'", found.end()):
            return _prefixed_string(kind, text, at, found.end())
        return _Token(kind="word", text=found[0], start=at), found.end()
    if (found := _NUMBER.match(text, at)) is not None:
        return _Token(kind="text", text=found[0], start=at), found.end()
    if first in {'"', "`"} or (first == "[" and kind in {SourceKind.SQLITE, SourceKind.SQLALCHEMY}):
        return _quoted(text, at, is_generic=is_generic)
    if first == "$" and (found := _DOLLAR_QUOTE.match(text, at)) is not None:
        if kind is not SourceKind.POSTGRESQL:
            raise InvalidQuery("The query may not have strings in dollars; write them in quotes.")
        end = _after(text, found[0], found.end())
        return _Token(kind="text", text="", start=at), end
    if first == "#" and is_generic:
        raise InvalidQuery('The query may not have "#" outside of quotes.')
    if first == "@" and kind is SourceKind.ORACLE:
        raise InvalidQuery("The query may not use database links.")
    return _Token(kind="end" if first == ";" else "other", text=first, start=at), at + 1


def _line_comment(text: str, at: int, *, is_generic: bool) -> int:
    """Find the end of a comment that MySQL begins with a blank after it alone."""
    if is_generic and text[at + 2 : at + 3].strip():
        raise InvalidQuery('The query has "--" with no blank after it; write one, or "- -".')
    found = _LINE_COMMENT.match(text, at)
    assert found is not None
    return found.end()


def _comment(kind: SourceKind, text: str, at: int) -> int:
    """Find the end of a comment, which may hold another one in PostgreSQL alone."""
    depth, place = 1, at + 2
    while (found := _COMMENT_END.search(text, place)) is not None:
        place = found.end()
        if found[0] == "*/":
            depth -= 1
        elif kind is SourceKind.POSTGRESQL:
            depth += 1
        elif kind is SourceKind.SQLALCHEMY:
            raise InvalidQuery("The query may not have comments within comments.")
        if depth == 0:
            if kind is SourceKind.SQLALCHEMY and text.startswith(("/*!", "/*M!"), at):
                raise InvalidQuery("The query may not have comments that are run.")
            return place
    raise InvalidQuery("The query has a comment that does not end.")


def _string(text: str, start: int, quote: int, *, is_generic: bool) -> tuple[_Token, int]:
    found = _PLAIN_STRING.match(text, quote)
    if found is None:
        raise InvalidQuery("The query has a string that does not end.")
    if is_generic and "\\" in found[0]:
        raise InvalidQuery("The query may not have a backslash in quotes: databases differ on it.")
    return _Token(kind="text", text="", start=start), found.end()


def _prefixed_string(kind: SourceKind, text: str, at: int, quote: int) -> tuple[_Token, int]:
    """Read E'…', q'[…]' and their like; another word before a quote is a type, as in DATE '…'."""
    prefix = text[at:quote].lower()
    if prefix == "e" and kind is SourceKind.POSTGRESQL:
        found = _ESCAPED_STRING.match(text, quote)
        if found is None:
            raise InvalidQuery("The query has a string that does not end.")
        return _Token(kind="text", text="", start=at), found.end()
    if prefix in {"q", "nq", "e"} and kind is SourceKind.SQLALCHEMY:
        raise InvalidQuery(f"The query may not have strings in {prefix}'…'.")
    if prefix in {"q", "nq"} and kind is SourceKind.ORACLE:
        opening = text[quote + 1 : quote + 2]
        end = _after(text, _ORACLE_CLOSING.get(opening, opening) + "'", quote + 2)
        return _Token(kind="text", text="", start=at), end
    if prefix in {"b", "x", "n", "e", "u"}:
        return _string(text, at, quote, is_generic=kind is SourceKind.SQLALCHEMY)
    return _Token(kind="word", text=text[at:quote], start=at), quote


def _quoted(text: str, at: int, *, is_generic: bool) -> tuple[_Token, int]:
    pattern = {'"': _QUOTED_NAME, "`": _BACKTICKED_NAME, "[": _BRACKETED_NAME}[text[at]]
    found = pattern.match(text, at)
    if found is None:
        raise InvalidQuery("The query has a name in quotes that does not end.")
    if text[max(0, at - 2) : at].lower() == "u&":
        raise InvalidQuery('The query may not have names in U&"…".')
    inner = found[0][1:-1]
    if is_generic and re.search(r"[\\'\"`;/-]" if text[at] == "[" else r"\\", inner):
        raise InvalidQuery(f"The query may not have the name {found[0][:40]}.")
    return _Token(kind="name", text=inner.replace(text[at] * 2, text[at]), start=at), found.end()


def _after(text: str, closing: str, at: int) -> int:
    end = text.find(closing, at)
    if end < 0:
        raise InvalidQuery("The query has a string that does not end.")
    return end + len(closing)
