"""Finds out what a source text imports, and under which circumstances."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# In the standard library of a Python that runs these tests, but not yet in 3.9.
NEWER_THAN_3_9 = {"annotationlib", "compression", "pathlib.types", "string.templatelib", "tomllib"}
STANDARD_LIBRARY = sys.stdlib_module_names - NEWER_THAN_3_9


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module.

    Attributes:
        module: its full dotted name; for `from a import b` both `a` and `b` count, as `a.b`.
        is_guarded: it is inside a function or a `try`, so the module around it loads without.
    """

    module: str
    is_guarded: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def imports_of(source: str) -> Iterator[Import]:
    """Yield every import of a source text that is written without relative names."""
    yield from _below(ast.parse(source), is_guarded=False)


def _below(node: ast.AST, *, is_guarded: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module=alias.name, is_guarded=is_guarded)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None, "relative imports are banned by ruff's TID252"
            for alias in child.names:
                yield Import(module=f"{child.module}.{alias.name}", is_guarded=is_guarded)
        else:
            guards = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)
            yield from _below(child, is_guarded=is_guarded or guards)
