from __future__ import annotations

import ast
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanfold_server.model.errors import InvalidSource
from fanfold_server.service.sources import inspect_source

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL, too

PYTHONIC = st.lists(
    st.sampled_from(
        [
            "def f(x):",
            "def main():",
            "async def f():",
            "class C:",
            "f = lambda x: x",
            "return x",
            "    return 1",
            "\tpass",
            " x = (",
            ")",
            "]",
            "'''",
            '"',
            "#",
            "\\",
            "\n",
            "\r",
            "\x0c",
            "\0",
            "\ud800",
            "@f",
            "if x:",
            "else:",
            "f'{x!r:>{y}}'",
            "1" * 5000,
            "(" * 300,
            "-" * 8000,
            "ﬁ = 1",
            "\ufeff",
            "match x:",
            "    case _: pass",
            "0777",
            "'\\d'",
            "yield",
        ]
    )
).map("\n".join)


def refused(source: str, name: str = "f", **limits: int) -> InvalidSource:
    with pytest.raises(InvalidSource) as caught:
        inspect_source(source, name, **limits)
    return caught.value


def place(error: InvalidSource) -> tuple[object, object]:
    return error.details["line"], error.details["column"]


@given(ANY_TEXT | PYTHONIC, st.sampled_from(["f", "main", "ﬁ", "", "\ud800"]))
@example("\ud800", "f")
@example("def f(): pass\r\n\x0c\0", "f")
@example("9" * 10_000, "f")
@example("a" + ".b" * 100_000, "f")
@example("not " * 100_000 + "x", "f")
def test_any_text_is_either_a_script_or_refused_with_a_place(source: str, name: str) -> None:
    """Whatever a user sends, the server must come out of reading it with an answer."""
    error = None
    entry = ""
    try:
        entry = inspect_source(source, name)
    except InvalidSource as exc:
        error = exc
    if error is not None:
        line, column = place(error)
        assert isinstance(line, int)
        assert isinstance(column, int)
        assert line >= 1
        assert column >= 1
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    assert entry in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize(
    ("source", "name", "entry"),
    [
        ("def g(x):\n    return x", "f", "g"),
        ("import os\nX = 1\ndef g(): pass", "f", "g"),
        ("def a(): pass\ndef f(): pass\ndef main(): pass", "f", "f"),
        ("def a(): pass\ndef main(): pass", "f", "main"),
        ("def b(): pass\ndef a(): pass", "f", "b"),
        ("def g():\n    def f(): pass\n    return f()", "f", "g"),
        ("async def helper(): pass\ndef g(): pass", "f", "g"),
        ("async def f(): pass\ndef f(): pass", "f", "f"),
        ("def ﬁ(): pass\ndef g(): pass", "ﬁ", "fi"),
        ("\x0cdef g():\n\x0c    return 1\n", "f", "g"),
        ("def g():\r    return 1\r", "f", "g"),
        ("# -*- coding: latin-1 -*-\ndef g(): return 'ä'", "f", "g"),
        ("def g(): return '\\d'", "f", "g"),
    ],
)
def test_the_function_is_the_scripts_namesake_else_main_else_the_first(
    source: str, name: str, entry: str
) -> None:
    assert inspect_source(source, name) == entry


@pytest.mark.parametrize(
    ("source", "message", "at"),
    [
        ("", "defines no function", (1, 1)),
        ("x = 1\nclass C:\n    def f(self): pass", "defines no function", (1, 1)),
        ("def f(:\n    pass", "not valid Python", (1, 7)),
        ("def f():\n    return (1", "'(' was never closed", (2, 12)),
        ("def f():\npass", "expected an indented block", (2, 1)),
        ("x = 1\nasync def f(): pass", '"async def"', (2, 1)),
        ("def g(): pass\nasync def f(): pass", '"async def"', (2, 1)),
        ("def f(): pass\nasync def f(): pass", '"async def"', (2, 1)),
        ("f = lambda x: x", "lambda", (1, 5)),
        ("lambda x: x", "lambda", (1, 1)),
        ("def f():\r\n    return '\0'", "NUL", (2, 13)),
        ("\x0cdef f():\n    return '\ud800'", "surrogate", (2, 13)),
        ("(" * 100, "never closed", (1, 100)),
        ("-" * 10_000 + "1", "nested too deeply", (1, 1)),
        ("x = " + "9" * 5000, "not valid Python", (1, 1)),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(
    source: str, message: str, at: tuple[int, int]
) -> None:
    error = refused(source)
    assert message in error.message
    assert place(error) == at


def test_the_limit_is_in_bytes_and_named() -> None:
    source = "def f(): return 'ä'"
    size = len(source.encode())
    assert inspect_source(source, "f", max_bytes=size) == "f"
    message = refused(source, max_bytes=size - 1).message
    assert str(size) in message
    assert str(size - 1) in message


def test_reading_a_source_runs_nothing_of_it() -> None:
    source = "raise SystemExit\nimport nowhere\n@(1/0)\ndef f(x=1/0): pass\n"
    assert inspect_source(source, "f") == "f"
