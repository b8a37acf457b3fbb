"""Write the generated pages of docs/reference from the code that they describe.

What `make reference` runs; `--check` writes nothing and fails where a page is not what the code
says. The pages: every setting, every error code, every command, every route,
every attack that the tests make. The client's classes
of errors are written here, too: it may not import the server's.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import click
from client_reference import client_methods
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from fanfold.cli import main as fanfold
from fanfold.cli import talking
from fanfold_server.http.app import build_app
from fanfold_server.http.errors import status_of
from fanfold_server.http.openapi import by_tag
from fanfold_server.http.run_document import openapi_paths
from fanfold_server.http.surface import Surface
from fanfold_server.model import errors, outcome
from fanfold_server.model.outcome import FailureKind
from fanfold_server.settings import LevelLimits, Settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.attacks.expected import COLUMNS, EXPECTED  # noqa: E402  # it is no part of a package

FOLDER = ROOT / "docs" / "reference"
CLIENT_ERRORS = ROOT / "src" / "fanfold" / "errors.py"
MARK = "<!-- Written by `make reference`; change the code that it describes. -->"

# Defaults that depend on the machine, in words.
COMPUTED = {
    "data": "`~/.local/share/fanfold`, or below `XDG_DATA_HOME`",
    "data_threads": "one per processor, at most 4",
    "workers": "one per processor, at least 8",
}
FEW = 3  # settings that a command shows as options of its own
LONGEST_SUMMARY = 90
BOUNDS = {"ge": "≥", "le": "≤", "gt": ">", "lt": "<"}


def main() -> int:
    """Write the pages, or check them; return the exit status."""
    pages = {
        FOLDER / "settings.md": _page("Settings", settings()),
        FOLDER / "errors.md": _page("Errors", error_codes()),
        FOLDER / "cli.md": _page("Commands", commands()),
        FOLDER / "client.md": _page("The client", client_methods()),
        FOLDER / "routes.md": _page("Routes", routes()),
        FOLDER / "attacks.md": _page("Attacks", attacks()),
        CLIENT_ERRORS: "\n".join(client_errors()).rstrip() + "\n",
    }
    stale = [
        page
        for page, text in pages.items()
        if not page.is_file() or page.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is not what the code says: run `make reference`")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", MARK, "", *lines]).rstrip() + "\n"


def _table(head: str, rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    names = [name.strip() for name in head.split("|")]
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


# ---------------------------------------------------------------------------------------- settings


def settings() -> Iterator[str]:
    """Describe every setting."""
    yield "What an operator can set. The setting `max_body_mib`, for example, is"
    yield ""
    yield "1. the option `--max-body-mib 32` of `fanfold serve`, else"
    yield "2. the variable `FANFOLD_MAX_BODY_MIB=32`, else"
    yield "3. the line `max_body_mib = 32` in the TOML file that `--config` names, or in"
    yield "   `fanfold.toml` in the data directory, else"
    yield "4. the default."
    yield ""
    yield "A wrong value or an unknown name in the file stops the start, and is named."
    yield ""
    for group in _setting_groups():
        yield f"## {(group.__doc__ or '').removesuffix('.')}"
        yield ""
        names = inspect.get_annotations(group)
        yield from _table(
            "setting | default | allowed | meaning",
            (row for name, row in _setting_rows(Settings) if name in names),
        )
    yield "## Limits of a service level"
    yield ""
    yield "Members of a table of `levels`, such as `[levels.LOW]`;"
    yield "[Set limits](../howto/limits.md) shows their use."
    yield ""
    members = (row for _, row in _setting_rows(LevelLimits))
    yield from _table("member | default | allowed | meaning", members)


def _setting_groups() -> Iterator[type[BaseModel]]:
    """List the classes that the settings are made of, in the order of their fields."""
    for part in reversed(Settings.__mro__[1:]):
        if issubclass(part, BaseModel) and part not in {BaseModel, BaseSettings}:
            yield part


def _setting_rows(model: type[BaseModel]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Describe the fields of a model: the name of each, and its row in a table."""
    for name, field in model.model_fields.items():
        default = COMPUTED.get(name)
        if default is None:
            value = field.get_default(call_default_factory=True, validated_data={})
            default = "none" if value in (None, (), {}) else f"`{_toml(value)}`"
        allowed = _allowed(field.annotation, field.metadata)
        yield name, (f"`{name}`", default, allowed, field.description or "")


def _toml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    """Say what values a setting takes."""
    choices = get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in metadata
        for name, sign in BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
    kinds = {
        "bool": "true or false",
        "tuple": "list",
        "Path": "path",
        "Mapping": "table",
        "float": "number",
        "int": "integer",
    }
    text = str(annotation)
    kind = next((word for key, word in kinds.items() if key in text), "text")
    return f"{kind} {', '.join(bounds)}".rstrip()


# ------------------------------------------------------------------------------------------ errors


def error_codes() -> Iterator[str]:
    """Describe every error code."""
    yield "Every error, on every path, is one JSON object:"
    yield ""
    yield "```json"
    yield '{"errorMessage": "The member \\"times\\" is missing.", "errorCode": 2002}'
    yield "```"
    yield ""
    yield "`errorMessage` is for people and names what is wrong and what would be right; it may"
    yield "change. `errorCode` is for programs and does not change. Other members may stand beside"
    yield "them. [How to handle errors](../howto/errors.md) shows their use."
    yield ""
    yield "## The request was refused, or the server failed"
    yield ""
    yield "The message is the one that is sent when nothing more is known."
    yield ""
    classes = _error_classes()
    yield from _table(
        "code | status | name | message",
        (
            (str(cls.code), str(status_of(cls())), f"`{cls.__name__}`", _first_line(cls.__doc__))
            for cls in classes
        ),
    )
    yield "## The function failed"
    yield ""
    yield "These come with status 400, and with `errorType`, `traceback` (the frames of your own"
    yield 'source) and, for index-apply, `index`. With `"onError": "continue"` they are entries of'
    yield "the member `errors` of an answer with status 200."
    yield ""
    meanings = _member_docs(inspect.getsource(outcome), FailureKind.__name__)
    yield from _table(
        "code | name | meaning",
        ((str(int(kind)), f"`{kind.name}`", meanings[kind.name]) for kind in FailureKind),
    )


def client_errors() -> Iterator[str]:
    """Write the client's module of error classes, one for each code."""
    yield '"""The errors of the server, a class for each code. Written by `make reference`."""'
    yield ""
    yield "from __future__ import annotations"
    yield ""
    yield "from fanfold.faults import FanfoldError"
    for cls in _error_classes():
        base = cls.__mro__[1].__name__
        yield from _class(cls.__name__, base, _first_line(cls.__doc__), str(cls.code))
    base = "CallFailed"
    yield from _class(base, "FanfoldError", "A call of the function has no value.", None)
    meanings = _member_docs(inspect.getsource(outcome), FailureKind.__name__)
    for kind in FailureKind:
        name = "Call" + kind.name.title().replace("_", "")
        meaning = meanings[kind.name]
        if len(meaning) > LONGEST_SUMMARY:
            meaning = meaning.partition(";")[0].partition(" (")[0].partition(",")[0] + "."
        yield from _class(name, base, meaning, str(int(kind)))


def _class(name: str, base: str, summary: str, code: str | None) -> Iterator[str]:
    known = "" if code is None else f", code={code}"
    yield from ("", "", f"class {name}({base}{known}):", f'    """{summary}"""')


def _error_classes() -> list[type[errors.FanfoldError]]:
    classes = [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.FanfoldError) and cls is not errors.FanfoldError
    ]
    return sorted(classes, key=lambda cls: (cls.code, len(cls.__mro__)))


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _member_docs(source: str, name: str) -> dict[str, str]:
    """Read the texts that stand below the members of an enumeration."""
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    docs = {}
    for member, text in zip(found.body, found.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            target, value = member.targets[0], text.value
            assert isinstance(target, ast.Name)
            assert isinstance(value, ast.Constant)
            docs[target.id] = " ".join(str(value.value).split())
    return docs


# ---------------------------------------------------------------------------------------- commands


def commands() -> Iterator[str]:
    """Describe every command."""
    yield "Results go to standard output, everything else to standard error. With `--json`, results"
    yield "and errors are JSON."
    yield ""
    meanings = _member_docs(inspect.getsource(talking), talking.Status.__name__)
    rows = ((str(int(status)), meanings[status.name]) for status in talking.Status)
    yield from _table("exit status | meaning", rows)
    context = click.Context(fanfold, info_name="fanfold")
    yield from _command_pages(fanfold, context)


def _command_pages(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _command_pages(child, click.Context(child, info_name=name, parent=context))
        return
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"## {context.command_path}"
    yield ""
    yield f"`{context.command_path} {pieces}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    parameters = command.get_params(context)
    options = [param for param in parameters if isinstance(param, click.Option)]
    shared = [option for option in options if option.name in Settings.model_fields]
    if len(shared) == len(Settings.model_fields):
        yield "Its options are the [settings](settings.md)."
        yield ""
        return
    if len(shared) > FEW:
        names = ", ".join(f"`{option.opts[0]}`" for option in shared)
        yield f"Of the [settings](settings.md), these are its options: {names}."
        yield ""
        options = [option for option in options if option not in shared]
    options = [option for option in options if "--help" not in option.opts]
    if options:
        yield from _table("option | meaning", (_option_row(option) for option in options))


def _option_row(option: click.Option) -> tuple[str, str]:
    kind = option.type
    words = (
        ""
        if option.is_flag
        else f" {option.metavar or option.make_metavar(click.Context(fanfold))}"
    )
    text = " ".join((option.help or "").split())
    if isinstance(kind, click.Choice) or option.show_default:
        text = f"{text} [default: {option.default}]".strip() if _has_default(option) else text
    return f"`{'`, `'.join(option.opts)}{words}`", text


def _has_default(option: click.Option) -> bool:
    return isinstance(option.default, str | int)


# ----------------------------------------------------------------------------------------- attacks


def attacks() -> Iterator[str]:
    """Show what the tests try against every rung of the isolation, and what comes of it."""
    yield "What functions try in the tests, on every rung of"
    yield "[the isolation](../explanation/isolation.md), with a server of an ordinary user and with"
    yield "one of root's: **X** succeeds, · fails. On Linux 6.12 or newer; older ones let"
    yield "signals and abstract sockets through Landlock. *With a list* is what a function tries"
    yield "that may reach one host; where there is no bwrap, it is not run at all."
    yield ""
    heads = [f"{rung} ({who})" for who, rung in COLUMNS]
    yield from _table(
        " | ".join(["attack", *heads]),
        (
            (
                _attack(name),
                *("**X**" if cell == "X" else cell for cell in cells),
            )
            for name, row in EXPECTED.items()
            for cells in [row.replace(" ", "")]
        ),
    )


def _attack(name: str) -> str:
    words, sign, _ = name.replace("_", " ").partition(" with a list")
    return f"{words} *with a list*" if sign else words


# ------------------------------------------------------------------------------------------ routes


def routes() -> Iterator[str]:
    """Describe every route."""
    document = asyncio.run(_openapi())
    yield from document["info"]["description"].strip().splitlines()
    yield ""
    yield "A running server shows the same with all members at `/docs`, and for machines as"
    yield "OpenAPI 3.1 at `/openapi.json`. Routes marked with * need no token."
    yield ""
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    for tag, operations in by_tag(document).items():
        yield f"## {tag.capitalize()}"
        yield ""
        yield about[tag]
        yield ""
        yield from _table("route | answers | what it does", map(_route_row, operations))
    schemas = document["components"]["schemas"]
    for path in ("do-eval", "index-apply"):
        operation = document["paths"][f"/oml/api/py-scripts/v2/{path}/{{scriptName}}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        yield f"## The body of {path}"
        yield ""
        yield from _table("member | type | meaning", _member_rows(schema))


def _route_row(route: tuple[str, str, dict[str, Any]]) -> tuple[str, str, str]:
    method, path, operation = route
    star = "" if operation.get("security", True) else " *"
    statuses = ", ".join(status for status in operation["responses"] if status != "default")
    text = operation.get("description") or operation.get("summary") or ""
    old = "Deprecated. " if operation.get("deprecated") else ""
    return (
        f"`{method.upper()} {path}`{star}",
        statuses,
        old + text.split("\n\n")[0].replace("\n", " "),
    )


def _member_rows(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, member in schema["properties"].items():
        choices = [
            choice for choice in member.get("anyOf", [member]) if choice.get("type") != "null"
        ]
        kinds = []
        for choice in choices:
            if "enum" in choice:
                kinds += [f"`{value}`" for value in choice["enum"]]
            else:
                bounds = [
                    f"{sign} {choice[key]}"
                    for key, sign in (("minimum", "≥"), ("maximum", "≤"))
                    if key in choice
                ]
                kinds.append(f"{choice.get('type', 'any')} {', '.join(bounds)}".strip())
        required = " (required)" if name in schema.get("required", ()) else ""
        yield f"`{name}`{required}", " or ".join(kinds), member.get("description", "")


async def _openapi() -> dict[str, Any]:
    """Ask the application for its document, as a client would."""

    async def has_accounts() -> bool:
        return True

    nothing = cast("Any", None)
    there = cast("Any", object())
    surface = Surface(
        access=cast("Any", SimpleNamespace(has_accounts=has_accounts)),
        auditing=cast("Any", SimpleNamespace(note=lambda _event: None)),
        secrets=nothing,
        networks=nothing,
        library=nothing,
        environments=nothing,
        health=nothing,
        jobs=there,
        callbacks=there,
        tables=there,
        sources=there,
        datastores=there,
        provisioning=there,
        preloading=there,
    )
    app = build_app(surface, runs=nothing, max_body_bytes=1 << 20, run_paths=openapi_paths)
    return cast("dict[str, Any]", json.loads(await _get(app, "/openapi.json")))


async def _get(
    app: Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]], path: str
) -> bytes:
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        body.extend(message.get("body", b""))

    scope = {"type": "http", "http_version": "1.0", "method": "GET", "path": path, "headers": []}
    await app(
        {**scope, "raw_path": path.encode(), "query_string": b"", "root_path": ""}, receive, send
    )
    return bytes(body)


if __name__ == "__main__":
    sys.exit(main())
