"""Find the function in a script's text, without ever running the text.

Pure; called by `Library.publish`. Only the syntax tree is looked at: the text is never compiled to
code, imported or executed here. What only the run would notice, such as an unknown name, is
therefore told by the run.
"""

from __future__ import annotations

import ast
import re
import sys
import unicodedata
import warnings
from typing import Never

from fanfold_server.model.errors import InvalidSource
from fanfold_server.service.misplaced import find_misplaced

MAX_BYTES = 1024 * 1024
"""How long a source text may be, in bytes of UTF-8, where nothing else is said."""

MARK = "\ufeff"
"""The byte order mark, with which some editors begin files; it is no part of the text."""

_PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
"""What the text is read as, whatever the interpreter of the environment that runs it."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def inspect_source(source: str, name: str, *, max_bytes: int = MAX_BYTES) -> str:
    """Find the function that a run of this script calls.

    If the text defines several functions at its top level, it is the one named like the script,
    else `main`, else the first.

    Args:
        source: the script's text.
        name: the script's name.
        max_bytes: the longest text accepted, in bytes of UTF-8.

    Returns:
        The function's name.

    Raises:
        InvalidSource: the text is too long, is not Python, or holds no function that can be
            called. `details` has `line` and `column`, both from 1; nothing else is ever raised.
    """
    _refuse_unstorable(source)
    size = len(source.encode("utf-8"))
    if size > max_bytes:
        _refuse(f"The source is {size:,} bytes long; this server stores at most {max_bytes:,}.")
    tree = _parse(source)
    if wrong := find_misplaced(tree):
        _refuse_wrong(wrong.message, wrong.line, wrong.column)
    return _entry(tree, name)


def _refuse_unstorable(source: str) -> None:
    if found := _UNSTORABLE.search(source):
        what = "a NUL character" if found[0] == "\0" else "a lone surrogate, which is no character"
        ends = list(_LINE_END.finditer(source, 0, found.start()))
        line_start = ends[-1].end() if ends else 0
        line, column = len(ends) + 1, found.start() - line_start + 1
        _refuse(f"The source holds {what} (line {line}, column {column}).", line, column)


def _parse(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():  # "\d" is worth a warning, but not on the server's stderr
            warnings.simplefilter("ignore")
            return ast.parse(source, filename="<script>")
    except SyntaxError as exc:
        _refuse_wrong(exc.msg, max(exc.lineno or 1, 1), max(exc.offset or 1, 1))
    except (RecursionError, MemoryError) as exc:
        message = "The source is nested too deeply to be read."
        raise InvalidSource(message, line=1, column=1) from exc
    except (ValueError, OverflowError) as exc:
        # For one, an integer with more decimal digits than Python converts.
        raise InvalidSource(f"The source is not valid {_PYTHON}: {exc}.", line=1, column=1) from exc


def _entry(tree: ast.Module, name: str) -> str:
    """Choose among the functions at the top level; the last definition of a name counts."""
    functions: dict[str, _Function] = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    # Python reads identifiers in this normal form; a script's name is kept as it was sent.
    wanted = functions.get(unicodedata.normalize("NFKC", name)) or functions.get("main")
    if wanted is None:
        plain = (node for node in functions.values() if isinstance(node, ast.FunctionDef))
        wanted = next(plain, None) or next(iter(functions.values()), None)
    if wanted is None:
        _refuse_functionless(tree)
    if isinstance(wanted, ast.AsyncFunctionDef):
        _refuse(
            f'The function "{wanted.name}" is "async def", which cannot be called by a run: '
            f'write "def {wanted.name}".',
            wanted.lineno,
            wanted.col_offset + 1,
        )
    return wanted.name


def _refuse_functionless(tree: ast.Module) -> Never:
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(value, ast.Lambda):
            _refuse(
                "The source holds a lambda, which has no name to call: write it as a function "
                'with "def".',
                value.lineno,
                value.col_offset + 1,
            )
    _refuse('The source defines no function at its top level: write one with "def".')


def _refuse_wrong(what: str, line: int, column: int) -> Never:
    where = f"(line {line}, column {column})"
    _refuse(f"The source is not valid {_PYTHON}: {what} {where}.", line, column)


def _refuse(message: str, line: int = 1, column: int = 1) -> Never:
    raise InvalidSource(message, line=line, column=column)
