"""What a script's function takes, read from its text; and whether given arguments are that.

Pure: nothing is run. Only what is certain is said: a function that is decorated, or whose name is
bound again, may take anything, and is not looked into. So a call that is refused by this would have
failed. The server asks before a run is accepted, and a run without a server before it begins.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
"""JSON Schema, as OpenAPI 3.1 has it; an empty one allows anything."""

GENERATOR = "rng"
"""A parameter of this name is given a random generator by the runtime, unless it is given one."""

_TYPES: Mapping[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "list": {"type": "array"},
    "tuple": {"type": "array"},
    "set": {"type": "array"},
    "List": {"type": "array"},
    "Sequence": {"type": "array"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "Mapping": {"type": "object"},
}
_KINDS: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_ARGUMENT = re.compile(r"^\s+(\w+)(?:\s*\([^)]*\))?:\s+(.+)$")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function.

    Attributes:
        schema: of its values, from its annotation.
        default: JSON's form of it, in a list of one; empty if it has no such form.
    """

    name: str
    schema: Schema
    is_required: bool
    by_position: bool
    by_name: bool
    default: tuple[Any, ...] = ()
    written: str = ""
    description: str = ""


@dataclass(frozen=True)
class Signature:
    """What a function takes.

    Attributes:
        takes_any_name, takes_any_number: it has `**kwargs`, `*args`.
        returns: schema of what it gives.
    """

    function: str
    parameters: tuple[Parameter, ...]
    takes_any_name: bool
    takes_any_number: bool
    returns: Schema
    doc: str

    def given(self, positional: int) -> tuple[Parameter, ...]:
        """List the parameters that a caller names, past those that the run itself gives.

        He names those, too, that Python takes by position alone: the runtime gives them so.
        """
        by_position = [p for p in self.parameters if p.by_position][:positional]
        return tuple(p for p in self.parameters if p not in by_position)


@dataclass(frozen=True)
class Refusal:
    """Why a function does not take what it would be given.

    Attributes:
        argument: that it is about; empty if it is about their number.
    """

    message: str
    argument: str


def refusal_of(
    signature: Signature, positional: int, arguments: Mapping[str, Any], *, types: bool
) -> Refusal | None:
    """See whether a function takes what it would be given; None if it does.

    Args:
        positional: how many arguments the run itself gives: its index, or its rows.
        arguments: by name, as JSON has them.
        types: also compare their types with the annotations.
    """
    try:
        _check_names(signature, positional, arguments)
        if types:
            _check_types(signature, positional, arguments)
    except _Refused as exc:
        return exc.refusal
    return None


def signature_of(source: str, entry: str) -> Signature | None:
    """Read a function's signature from the text that defines it.

    Returns:
        None where the name does not certainly mean the function as it is written.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in tree.body if _binds(node, entry)]
    definition = found[0] if len(found) == 1 else None
    if not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        return None
    if any(isinstance(node, ast.Global) and entry in node.names for node in ast.walk(tree)):
        return None
    taken = definition.args
    doc = ast.get_docstring(definition) or ""
    told = dict(_told(doc))
    return Signature(
        function=entry,
        parameters=tuple(_parameters(taken, told)),
        takes_any_name=taken.kwarg is not None,
        takes_any_number=taken.vararg is not None,
        returns=schema_of(definition.returns),
        doc=doc,
    )


def schema_of(annotation: ast.expr | None) -> Schema:
    """Write the JSON Schema of an annotation; what is not known allows anything."""
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return {"type": "null"}
        if not isinstance(annotation.value, str):
            return {}
        try:
            return schema_of(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return {}
    if isinstance(annotation, (ast.Name, ast.Attribute)):
        return dict(_TYPES.get(_name_of(annotation), {}))
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _any_of([annotation.left, annotation.right])
    if isinstance(annotation, ast.Subscript) and isinstance(
        annotation.value, (ast.Name, ast.Attribute)
    ):
        return _generic(_name_of(annotation.value), annotation.slice)
    return {}


def _name_of(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _generic(name: str, inner: ast.expr) -> Schema:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Optional":
        return _any_of([*parts, ast.Constant(value=None)])
    if name == "Union":
        return _any_of(parts)
    if name == "Annotated":
        return schema_of(parts[0])
    if name == "Literal":
        values = [part.value for part in parts if isinstance(part, ast.Constant)]
        return {"enum": values} if len(values) == len(parts) else {}
    schema = dict(_TYPES.get(name, {}))
    if schema.get("type") == "array" and name != "tuple" and len(parts) == 1:
        items = schema_of(parts[0])
        return {**schema, "items": items} if items else schema
    return schema


def _any_of(parts: list[ast.expr]) -> Schema:
    schemas = [schema_of(part) for part in parts]
    return {} if {} in schemas else {"anyOf": schemas}


def _binds(node: ast.stmt, name: str) -> bool:
    """Say whether a statement at the top level may give the name a meaning."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        return bool(names & {name, "*"})
    return any(
        (
            isinstance(inner, ast.Name)
            and isinstance(inner.ctx, (ast.Store, ast.Del))
            and inner.id == name
        )
        or (isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and inner.name == name)
        or (
            isinstance(inner, ast.Call)
            and isinstance(inner.func, ast.Name)
            and inner.func.id in {"globals", "exec", "vars", "setattr"}
        )
        for inner in ast.walk(node)
    )


def _parameters(taken: ast.arguments, told: Mapping[str, str]) -> Iterator[Parameter]:
    named = [*taken.posonlyargs, *taken.args]
    missing = len(named) - len(taken.defaults)
    for at, arg in enumerate(named):
        default = taken.defaults[at - missing] if at >= missing else None
        by_name = at >= len(taken.posonlyargs)
        yield _parameter(arg, default, told, by_position=True, by_name=by_name)
    for arg, own in zip(taken.kwonlyargs, taken.kw_defaults):
        yield _parameter(arg, own, told, by_position=False, by_name=True)


def _parameter(
    arg: ast.arg,
    default: ast.expr | None,
    told: Mapping[str, str],
    *,
    by_position: bool,
    by_name: bool,
) -> Parameter:
    schema = schema_of(arg.annotation)
    values: tuple[Any, ...] = ()
    if default is not None:
        try:
            value = ast.literal_eval(default)
            json.dumps(value, allow_nan=False)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass  # it has no form in JSON, so the document does not tell it
        else:
            values = (value,)
            if value is None and schema and not _allows(schema, None):
                schema = {"anyOf": [schema, {"type": "null"}]}
    return Parameter(
        name=arg.arg,
        schema=schema,
        is_required=default is None and arg.arg != GENERATOR,
        by_position=by_position,
        by_name=by_name,
        default=values,
        written="" if default is None else ast.unparse(default),
        description=told.get(arg.arg, ""),
    )


def _told(doc: str) -> Iterator[tuple[str, str]]:
    """Read what a docstring says of the parameters, in Google's form."""
    _, _, section = doc.partition("\nArgs:\n")
    for line in section.splitlines():
        if line.strip() and not line[0].isspace():
            return
        found = _ARGUMENT.match(line)
        if found is not None:
            yield found[1], found[2].strip()


# ---------------------------------------------------------------------------------------- checking


def _check_names(signature: Signature, positional: int, arguments: Mapping[str, Any]) -> None:
    """Refuse what Python itself would refuse, in its words."""
    places = [p for p in signature.parameters if p.by_position]
    if positional > len(places) and not signature.takes_any_number:
        takes = f"takes {len(places)} positional argument{'s' if len(places) != 1 else ''}"
        text = f"{takes} but {positional} was given"
        _refuse(signature, positional, text, "", is_about_first=True)
    filled = {p.name for p in places[:positional]}
    for name in arguments:
        found = next((p for p in signature.parameters if p.name == name), None)
        is_free = found is None or (found.name in filled and not found.by_name)
        if found is not None and found.name in filled and found.by_name:
            text = f"got multiple values for argument {name!r}"
            _refuse(signature, positional, text, name, is_about_first=True)
        if is_free and not signature.takes_any_name:
            _refuse(signature, positional, f"got an unexpected keyword argument {name!r}", name)
    missing = [
        p
        for p in signature.parameters
        if p.is_required and p.name not in filled and p.name not in arguments
    ]
    if missing:
        kind = "positional" if missing[0].by_position else "keyword-only"
        alike = [p.name for p in missing if p.by_position == missing[0].by_position]
        word = "argument" if len(alike) == 1 else "arguments"
        names = _listed([repr(name) for name in alike])
        text = f"missing {len(alike)} required {kind} {word}: {names}"
        _refuse(signature, positional, text, alike[0])


def _check_types(signature: Signature, positional: int, arguments: Mapping[str, Any]) -> None:
    for parameter in signature.given(positional):
        value = arguments.get(parameter.name, ...)
        if value is not ... and not _allows(parameter.schema, value):
            text = (
                f"argument {parameter.name!r} should be {_words(parameter.schema)}; "
                f"it is {json.dumps(value)[:60]}"
            )
            _refuse(signature, positional, text, parameter.name)


def _allows(schema: Schema, value: object) -> bool:
    if "anyOf" in schema:
        return any(_allows(part, value) for part in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind is None:
        return True
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    if not isinstance(value, _KINDS[kind]):
        return False
    items = schema.get("items")
    return items is None or all(_allows(items, item) for item in value)  # type: ignore[attr-defined]  # an array


def _words(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kind = str(schema["type"])
    if "items" in schema:
        return f"an array of {_words(schema['items'])}"
    return {"null": "null"}.get(kind, f"{'an' if kind[0] in 'aio' else 'a'} {kind}")


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _refuse(
    signature: Signature, positional: int, text: str, argument: str, *, is_about_first: bool = False
) -> None:
    """Raise what Python says, and beside it what would be right."""
    takes = [
        f"{p.name}={p.written}" if p.written else p.name
        for p in signature.given(positional)
        if p.name != GENERATOR
    ]
    if signature.takes_any_name:
        takes.append("any other" if takes else "any")
    told = ["the run itself gives the first, its index or its rows"] if is_about_first else []
    if takes:
        told.append(f"its arguments: {', '.join(takes)}")
    elif not told:
        told.append("it has no arguments to give")
    message = f"TypeError: {signature.function}() {text} ({'; '.join(told)})"
    raise _Refused(Refusal(message, argument))


def _listed(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    *first, last = words
    return f"{', '.join(first)}{',' if len(first) > 1 else ''} and {last}"
