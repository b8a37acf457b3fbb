"""From a function to the text that the server stores: only what stands alone is let through.

Nothing is pickled. The text of a function is taken as it was written, and whatever it uses has to
be in it; what it lacks is named, so that it can be put in.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import re
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.faults import NotPortable

ADHOC = "adhoc_"
"""What the name of a text begins with that was sent with a run."""
FOR_EXECUTOR = "executor_"
"""The same for a text that an executor has sent."""

_DIGEST_LENGTH = 12
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}


@dataclass(frozen=True)
class Source:
    """A text that defines a function.

    Attributes:
        name: of the function.
    """

    text: str
    name: str

    @property
    def adhoc_name(self) -> str:
        """A script's name that belongs to this very text."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:_DIGEST_LENGTH]
        return f"{ADHOC}{self.name[:80]}_{digest}"


def is_adhoc(name: str) -> bool:
    """Tell the name of a text that was sent with a run from one that somebody has chosen."""
    return name.startswith((ADHOC, FOR_EXECUTOR))


def is_source(func: str) -> bool:
    """Tell a source text from a stored name, which has neither lines nor a `def`."""
    return "\n" in func or func.lstrip().startswith(("def ", "async def ", "@", "import ", "from "))


def source_of(func: Callable[..., Any] | str) -> Source:
    """Take the text of a function.

    Args:
        func: a function, or its source text.

    Raises:
        NotPortable: it has no text, is a method, is decorated, or uses names that are not its own.
    """
    if isinstance(func, str):
        return Source(func, _first_name(func))
    if not isinstance(func, types.FunctionType):
        raise NotPortable(
            f"{func!r} is not a plain Python function: write one with def, and call it in there."
        )
    source = _lambda(func) if func.__name__ == "<lambda>" else _def(func)
    lacking = _lacking(source)
    if lacking and not _lacking(Source(_unannotated(source.text), source.name)):
        # Annotations are for readers; as text they need nothing.
        return Source("from __future__ import annotations\n\n\n" + source.text, source.name)
    if lacking:
        raise NotPortable(_complaint(func, lacking), details={"names": lacking})
    return source


def _def(func: types.FunctionType) -> Source:
    text = textwrap.dedent(_written(func))
    tree = _parsed(text, func)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise NotPortable(f'"{func.__name__}" is not a plain function: write it with def.')
    if definition.decorator_list:
        raise NotPortable(
            f'"{func.__name__}" is decorated, and its decorators would not go with it: send the '
            "text that defines both, or the plain function."
        )
    return Source(text, definition.name)


def _lambda(func: types.FunctionType) -> Source:
    """Write a lambda as a function, if it can be told from its line which one it is."""
    bound = sorted(func.__code__.co_freevars)
    if bound:
        raise NotPortable(_complaint(func, bound), details={"names": bound})
    text = textwrap.dedent(_written(func)).strip()
    wanted = _shape(func.__code__)
    alike = [node for node in _lambdas(text) if _shape(_compiled(node)) == wanted]
    if not alike:
        alike = [node for node in _cut_out(text) if _shape(_compiled(node)) == wanted][:1]
    if len({ast.dump(node) for node in alike}) != 1:
        raise NotPortable(
            "It cannot be told from its line which lambda this is: write it as a function with def."
        )
    node = alike[0]
    body = ast.Return(node.body)
    definition = ast.FunctionDef("call", node.args, [body], [], None, None)
    if hasattr(definition, "type_params"):
        definition.type_params = []
    return Source(ast.unparse(ast.fix_missing_locations(definition)) + "\n", "call")


def _lambdas(text: str) -> list[ast.Lambda]:
    """List the lambdas of a line, which may go on after what it says: "f(lambda x: x),"."""
    for end in range(len(text), 0, -1):
        try:
            tree = ast.parse(text[:end].rstrip().rstrip(",") or "0")
        except SyntaxError:
            continue
        return [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return []


def _cut_out(text: str) -> Iterator[ast.Lambda]:
    """Yield what may be a lambda of a line that is no statement by itself: "try: f(lambda: 1)"."""
    for begin in re.finditer(r"\blambda\b", text):
        for end in range(len(text), begin.end(), -1):
            try:
                found = ast.parse(f"({text[begin.start() : end]})", mode="eval").body
            except SyntaxError:
                continue
            if isinstance(found, ast.Lambda):
                yield found


def _compiled(node: ast.Lambda) -> types.CodeType:
    code = compile(ast.Expression(node), "<lambda>", "eval")
    return next(const for const in code.co_consts if isinstance(const, types.CodeType))


def _shape(code: types.CodeType) -> tuple[object, ...]:
    """Give what two codes have in common that do the same, wherever they stand."""
    consts = [_shape(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, *consts


def _written(func: types.FunctionType) -> str:
    try:
        return inspect.getsource(func)
    except (OSError, TypeError) as exc:
        raise NotPortable(
            f'The text of "{func.__name__}" is not to be had (it was not read from a file or a '
            "notebook's cell): send the source as a string."
        ) from exc


def _parsed(text: str, func: types.FunctionType) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as exc:
        raise NotPortable(
            f'The text of "{func.__name__}" cannot be taken out of the line that it stands in: '
            "write it with def, on lines of its own."
        ) from exc


def _lacking(source: Source) -> list[str]:
    """Name what the text uses and neither defines nor finds among the builtins."""
    table = symtable.symtable(source.text, "<function>", "exec")
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    waiting = table.get_children()
    while waiting:
        inner = waiting.pop()
        used |= {
            symbol.get_name()
            for symbol in inner.get_symbols()
            if symbol.is_global() and symbol.is_referenced()
        }
        waiting += inner.get_children()
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}
    return sorted(used - own - _BUILTINS)


def _unannotated(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
    return ast.unparse(tree)


def _complaint(func: types.FunctionType, lacking: list[str]) -> str:
    imports = [line for name in lacking if (line := _import(func.__globals__.get(name), name))]
    rest = [name for name in lacking if not _import(func.__globals__.get(name), name)]
    hints = [f'write "{line}" inside it' for line in imports]
    named = ", ".join(rest)
    if rest and any(_is_code(func.__globals__.get(name)) for name in rest):
        text = 'send the text of a file that has it all: Path("file.py").read_text()'
        hints.append(f"define {named} inside it, or {text}")
    elif rest:
        hints.append(f"define {named} inside it, or pass {named} as arguments")
    called = "The lambda" if func.__name__ == "<lambda>" else f'"{func.__name__}"'
    return f"{called} cannot stand alone: it lacks {', '.join(lacking)}. Please {'; '.join(hints)}."


def _import(found: object, name: str) -> str:
    """Write the statement by which a name comes from a module; empty if it comes from none."""
    if isinstance(found, types.ModuleType):
        if not _is_installed(found):
            return ""
        return f"import {found.__name__}" + (f" as {name}" if name != found.__name__ else "")
    module = getattr(found, "__module__", None)
    own_name = getattr(found, "__name__", None)
    if not isinstance(module, str) or not isinstance(own_name, str):
        return ""
    origin = sys.modules.get(module)
    if origin is None or getattr(origin, own_name, None) is not found or not _is_installed(origin):
        return ""
    return f"from {module} import {own_name}" + (f" as {name}" if name != own_name else "")


def _is_code(found: object) -> bool:
    """Tell what no argument can hand over from a plain value."""
    return callable(found) or isinstance(found, types.ModuleType)


def _is_installed(module: types.ModuleType) -> bool:
    """Tell a module that an environment may have, too, from a file of the caller's own."""
    if module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return module.__name__ != "__main__"
    return bool({"site-packages", "dist-packages"} & set(Path(str(module.__file__)).parts))


def _first_name(text: str) -> str:
    """Find a function's name in a text; the server is the one who says what is wrong with it."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "script"
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return "main" if "main" in names else names[0] if names else "script"
