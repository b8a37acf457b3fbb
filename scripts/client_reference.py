"""Write docs/reference/client.md: every method of the client, from the code itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from fanfold import (
    client,
    datastores,
    environments,
    executor,
    jobs,
    options,
    records,
    repository,
    values,
)
from fanfold.verbs import stream, verb

_PARTS: tuple[tuple[str, str, type], ...] = (
    ("client", "Client", client.Client),
    ("client.scripts", "Scripts", repository.Scripts),
    ("client.tables", "Tables", repository.Tables),
    ("client.ds", "Datastores", datastores.Datastores),
    ("client.environments", "Environments", environments.Environments),
    ("client.jobs", "Jobs", client.Jobs),
    ("job", "Job", jobs.Job),
)
_RECORDS = (
    records.Script,
    records.Table,
    records.Environment,
    records.BuiltEnvironment,
    records.Build,
    records.JobInfo,
    records.Outcome,
    records.ErrorGroup,
    jobs.CallResult,
    values.DataImage,
    values.Image,
)


def client_methods() -> Iterator[str]:
    """Describe the client."""
    yield "`fanfold.Client` blocks; `fanfold.AsyncClient` has the same methods, to be awaited, and"
    yield "asynchronous iterators where the other has iterators. `client.script` is another name of"
    yield "`client.scripts`, and `client.background` has the five runs, each giving a `Job`."
    yield ""
    yield from _constructor("fanfold.Client", client.Client)
    for name, title, kind in _PARTS:
        yield f"## {title}: `{name}`"
        yield ""
        # the client's own text stands above, at its constructor; what it has, at its parent
        yield from _text(kind.__mro__[1] if kind is client.Client else kind)
        for method, (signature, doc, gives_many) in sorted(_methods(kind).items()):
            yield f"### `{name}.{method}{signature}`"
            yield ""
            if gives_many:
                yield "An iterator."
                yield ""
            yield from _paragraphs(doc)
    yield "## Options: `client.using(…)`"
    yield ""
    yield from _text(options.Options)
    yield from _constructor("fanfold.Executor", executor.Executor)
    for method in ("submit", "map", "attach", "shutdown"):
        found = getattr(executor.Executor, method)
        yield f"### `executor.{method}{_signature(found)}`"
        yield ""
        yield from _paragraphs(inspect.getdoc(found) or "")
    yield "## What methods give"
    yield ""
    for record in _RECORDS:
        assert is_dataclass(record), "they are records"
        names = ", ".join(f"`{field.name}`" for field in fields(record))
        yield f"### {record.__name__}"
        yield ""
        yield from _text(record)
        yield f"Members: {names}."
        yield ""


def _constructor(name: str, kind: type) -> Iterator[str]:
    yield f"## `{name}{_signature(kind.__init__)}`"  # type: ignore[misc]  # to be looked at
    yield ""
    yield from _text(kind)


def _methods(kind: type) -> dict[str, tuple[str, str, bool]]:
    """Find the methods of a part, in it and in what it is made of."""
    found: dict[str, tuple[str, str, bool]] = {}
    for ancestor in reversed(kind.__mro__):
        for name, member in vars(ancestor).items():
            if name.startswith("_"):
                continue
            if isinstance(member, verb | stream):
                doc = inspect.cleandoc(member.__doc__ or "")
                found[name] = (_signature(member.steps), doc, isinstance(member, stream))
            elif inspect.isfunction(member):
                found[name] = (_signature(member), inspect.getdoc(member) or "", False)
    return found


def _signature(function: object) -> str:
    """Write what a method takes, without types: its text says what they cannot."""
    assert callable(function), "it is a method"
    signature = inspect.signature(function)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _text(kind: type) -> Iterator[str]:
    return _paragraphs(inspect.cleandoc(kind.__doc__ or ""))


def _paragraphs(doc: str) -> Iterator[str]:
    """Write a docstring as Markdown: a section as a list."""
    for line in doc.splitlines():
        if line in {"Args:", "Attributes:", "Raises:", "Returns:"}:
            yield f"{line[:-1]}:"
            yield ""
        elif line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(": ")
            yield f"- `{name}`: {rest}" if colon else f"- {line.strip()}"
        elif line.startswith("        "):
            yield f"  {line.strip()}"
        else:
            yield line.replace("<", "&lt;")
    yield ""
