"""Which of the old generators a script can draw from: to seed one takes as long as a small call.

Errs on the side of both. It is about what scripts do, not about what they could be made to do: one
that reaches `random` by a detour past its import statements draws unseeded numbers.
"""

from __future__ import annotations

import ast

PYTHON, NUMPY = 1, 2
"""Flags: the module `random`; NumPy's legacy generator."""

_DRAWERS = {"random": PYTHON, "numpy": NUMPY}

_OTHERS = frozenset(
    """
    __future__ abc array base64 binascii bisect calendar cmath collections copy csv dataclasses
    datetime decimal difflib enum fractions functools hashlib heapq html io itertools json math
    numbers operator re string struct textwrap time typing unicodedata zlib
    """.split()  # noqa: SIM905  # a list of words is read as words
)
"""Modules that draw from neither, and do not import what does."""

_DETOURS = frozenset(
    """
    builtins compile ctypeslib delattr eval exec f2py getattr globals importlib load loads locals
    modules os setattr sys testing vars
    """.split()  # noqa: SIM905
)
"""Names and attributes that lead to other modules."""

_HARMLESS = frozenset(("__doc__", "__init__", "__name__", "__post_init__"))


def reachable(tree: ast.Module) -> int:
    """Return the flags of the generators that a text can draw from."""
    flags = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules, names = [alias.name for alias in node.names], []
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module] if node.module and not node.level else ["."]
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            modules, names = [], [node.attr]
        elif isinstance(node, ast.Name):
            modules, names = [], [node.id]
        else:
            continue
        for module in modules:
            top, *names_below = module.split(".")
            names += names_below
            if top not in _OTHERS and top not in _DRAWERS:
                return PYTHON | NUMPY
            flags |= _DRAWERS.get(top, 0)
        if any(map(_leads_on, names)):
            return PYTHON | NUMPY
    return flags


def _leads_on(name: str) -> bool:
    return name.lstrip("_") in _DETOURS or (name.startswith("__") and name not in _HARMLESS)
