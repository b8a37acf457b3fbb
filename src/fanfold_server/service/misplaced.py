"""What Python's compiler refuses of a text that has parsed: words where they mean nothing.

Pure, and by the syntax tree alone: nothing is compiled. Only what is certain is said; what this
does not know of (such as `nonlocal` without a variable) is told by the run.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple


class Misplaced(NamedTuple):
    """What is wrong, in Python's words, and where; both numbers from 1."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part of the tree stands.

    Attributes:
        function: "sync" or "async"; "" outside functions; "any" where the rules are not ours.
        is_module: neither in a function nor in a class.
    """

    function: str = ""
    in_loop: bool = False
    is_module: bool = True


_INSIDE_EXPRESSION = _Place(function="any", is_module=False)


def find_misplaced(tree: ast.Module) -> Misplaced | None:
    """Return the first part that Python would not compile where it stands; None if all is well."""
    early = _early_futures(tree)
    found: list[Misplaced] = []
    waiting: list[tuple[ast.AST, _Place]] = [(node, _Place()) for node in tree.body]
    while waiting:  # no recursion: a text may be nested as deeply as the parser lets it
        node, place = waiting.pop()
        message = _complaint(node, place, early)
        if message:
            at: ast.expr | ast.stmt = node  # type: ignore[assignment]  # what is told of has a place
            found.append(Misplaced(at.lineno, at.col_offset + 1, message))
        waiting += _parts(node, place)
    return min(found, default=None)


def _early_futures(tree: ast.Module) -> frozenset[ast.stmt]:
    """List the imports from `__future__` that stand before all else but the docstring."""
    early: list[ast.stmt] = []
    for node in tree.body[ast.get_docstring(tree, clean=False) is not None :]:
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        early.append(node)
    return frozenset(early)


def _complaint(node: ast.AST, place: _Place, early: frozenset[ast.stmt]) -> str:
    match node:
        case ast.Return() if not place.function:
            return "'return' outside function"
        case ast.Yield() | ast.YieldFrom() if not place.function:
            return "'yield' outside function"
        case ast.YieldFrom() if place.function == "async":
            return "'yield from' inside async function"
        case ast.Await() | ast.AsyncFor() | ast.AsyncWith() if not place.function:
            return "'await' outside function"
        case ast.Await() | ast.AsyncFor() | ast.AsyncWith() if place.function == "sync":
            return "'await' outside async function"
        case ast.Break() if not place.in_loop:
            return "'break' outside loop"
        case ast.Continue() if not place.in_loop:
            return "'continue' not properly in loop"
        case ast.Nonlocal() if place.is_module:
            return "nonlocal declaration not allowed at module level"
        case ast.ImportFrom(module="__future__") if node not in early:
            return "from __future__ imports must occur at the beginning of the file"
        case ast.ImportFrom(names=[ast.alias(name="*")]) if not place.is_module:
            return "import * only allowed at module level"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return _given_twice(node.args)
        case _:
            return ""


def _given_twice(arguments: ast.arguments) -> str:
    several = [arguments.vararg, arguments.kwarg]
    names = [arg.arg for arg in _arguments(arguments)] + [arg.arg for arg in several if arg]
    for name, count in Counter(names).items():
        if count > 1:
            return f"duplicate argument '{name}' in function definition"
    return ""


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _parts(node: ast.AST, place: _Place) -> Iterator[tuple[ast.AST, _Place]]:
    """Yield what a node is made of, and where each stands."""
    inner: dict[str, _Place] = {}
    match node:
        case ast.FunctionDef() | ast.Lambda():
            inner = {"body": _Place(function="sync", is_module=False)}
        case ast.AsyncFunctionDef():
            inner = {"body": _Place(function="async", is_module=False)}
        case ast.ClassDef():
            inner = {"body": _Place(is_module=False)}
        case ast.For() | ast.AsyncFor() | ast.While():
            inner = {"body": replace(place, in_loop=True)}
        case ast.AnnAssign() if place.function:  # there it is not evaluated
            inner = {"annotation": _INSIDE_EXPRESSION}
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            place = _INSIDE_EXPRESSION
        case _:
            pass
    for name, value in ast.iter_fields(node):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield part, inner.get(name, place)
