"""Whether a script is so plain that its calls cannot touch one another or the outside.

Errs on the side of "no": only functions with constant defaults at the top, pure modules, no names
that reach the interpreter's inside, no stores into anything but local names and items.
"""

from __future__ import annotations

import ast

_PURE_MODULES = frozenset(("cmath", "fractions", "functools", "itertools", "math", "operator"))
_IMPURE_NAMES = frozenset(
    """
    breakpoint classmethod compile copyright credits delattr dir eval exec exit getattr globals hash
    help id input license locals object open print quit setattr super type vars
    """.split()  # noqa: SIM905  # a list of words is read as words
)
_IMPURE_MEMBERS = frozenset(
    "attrgetter cache cached_property lru_cache methodcaller singledispatch".split()  # noqa: SIM905
)
"""Of pure modules: what remembers, and what reaches attributes by their names."""


def is_independent(tree: ast.Module) -> bool:
    """Say whether one call of the text's functions cannot leave anything to the next."""
    return all(map(_is_plain_at_the_top, tree.body)) and all(map(_is_plain, ast.walk(tree)))


def _is_plain_at_the_top(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return not node.decorator_list
    if isinstance(node, (ast.Expr, ast.Assign)):  # a docstring or a constant
        return isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name in _PURE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (
            not node.level
            and node.module in _PURE_MODULES
            and not any(_is_impure_member(alias.name) for alias in node.names)
        )
    if isinstance(node, ast.Name):
        return node.id not in _IMPURE_NAMES and not node.id.startswith("__")
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Load) and not _is_impure_member(node.attr)
    if isinstance(node, ast.arguments):
        defaults = (*node.defaults, *node.kw_defaults)
        return all(d is None or isinstance(d, ast.Constant) for d in defaults)
    return not isinstance(node, (ast.Global, ast.Nonlocal, ast.ClassDef, ast.AsyncFunctionDef))


def _is_impure_member(name: str) -> bool:
    return name.startswith("_") or name == "*" or name in _IMPURE_MEMBERS
