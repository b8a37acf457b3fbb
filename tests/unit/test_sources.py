from __future__ import annotations

import ast
import re
import textwrap
import warnings

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from fanfold_server.model.errors import InvalidSource
from fanfold_server.service.misplaced import find_misplaced
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
        ("x = 1\nreturn x", "'return' outside function", (2, 1)),
        ("class C:\n    yield", "'yield' outside function", (2, 5)),
        ("def f():\n    return 1 + await x", "'await' outside async function", (2, 16)),
        ("def f():\n    async with x: pass", "'await' outside async function", (2, 5)),
        ("await x", "'await' outside function", (1, 1)),
        ("async def g():\n    yield from x", "'yield from' inside", (2, 5)),
        ("def f():\n    if x:\n        break", "'break' outside loop", (3, 9)),
        ("for x in y:\n    pass\nelse:\n    continue", "'continue' not properly", (4, 5)),
        ("while x:\n    def f():\n        break", "'break' outside loop", (3, 9)),
        ("nonlocal x", "not allowed at module level", (1, 1)),
        ("def f():\n    from numpy import *", "import * only allowed", (2, 5)),
        ("import os\nfrom __future__ import annotations", "__future__ imports must", (2, 1)),
        ("def f(a, *, a): pass", "duplicate argument 'a'", (1, 1)),
        ("break\nreturn", "'break' outside loop (line 1, column 1)", (1, 1)),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(
    source: str, message: str, at: tuple[int, int]
) -> None:
    error = refused(source)
    assert message in error.message
    assert place(error) == at


LEAVES = st.sampled_from(
    [
        "pass",
        "return 1",
        "break",
        "continue",
        "x = yield",
        "x = yield from y",
        "print(await y)",
        "x: (await y) = 1",
        "x: (yield)",
        "nonlocal q",
        "from os import *",
        "from __future__ import annotations",
        "'text'",
        "x = lambda: (yield)",
        "x = lambda a, *a: a",
        "x = [lambda: (yield) for a in b]",
        "x = (await a for a in b)",
        "def g(a, *, b=(yield), **c): return a",
        "async def g(a): await a",
    ]
)
HEADS = st.sampled_from(
    [
        "def f(x):",
        "async def f(x):",
        "class C:",
        "for a in b:",
        "async for a in b:",
        "while a:",
        "if a:",
        "else:",
        "with a:",
        "async with a:",
        "try:",
        "finally:",
    ]
)


def indented(head: str, bodies: list[str]) -> str:
    return head + "\n" + textwrap.indent("\n".join(bodies), " ")


STATEMENTS = st.lists(
    st.recursive(LEAVES, lambda s: st.builds(indented, HEADS, st.lists(s, min_size=1, max_size=3))),
    min_size=1,
    max_size=4,
).map("\n".join)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(STATEMENTS)
def test_what_is_called_misplaced_is_what_the_compiler_refuses(source: str) -> None:
    """Nothing that could run is refused, and a word where it means nothing is always found."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        reject()
    message = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "<script>", "exec", dont_inherit=True)
    except SyntaxError as exc:
        message = exc.msg
    found = find_misplaced(tree)
    assert message or found is None, found
    assert found is not None or not re.search("outside (async )?function|loop|future|\\*", message)


def test_a_deep_text_is_looked_through() -> None:
    assert inspect_source("def f(): pass\nx = a" + ".b" * 700, "f") == "f"


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
