"""`fanfold run --local`: a file's function in a process of this machine, with the same semantics.

The process is the runtime that servers start, found by its place and not imported: this package
stays independent of it. What comes of the calls is folded here into what a server would answer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fanfold import errors
from fanfold.cli.talking import talk
from fanfold.cli.texts import script_text
from fanfold.faults import NotSendable
from fanfold.runs import failure_of
from fanfold.uploads import FORMS

RUNTIME = "fanfold_runtime"
INPUT_TYPES = ("default", "pandas.DataFrame", "numpy.recarray")
_CONTROL = "oml_"
"""What arguments of this beginning say is for the run, and not for the function."""

_OF_INTERPRETERS = {"ModuleNotFoundError", "NoArrow", "NoGenerator", "NoMatplotlib"}
"""Errors that another interpreter may not have."""

_SEED_BITS = 53
_LEVEL = 2
_START = """\
import sys
sys.path.insert(0, {folder!r})
from fanfold_runtime.alone import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Data:
    """Rows for a function: a file, and how it is cut into calls.

    Attributes:
        rows: of a chunk.
        by, order: names of columns, separated by commas.
        charset: of text; empty for UTF-8, or what its byte order mark says.
    """

    file: Path
    rows: int | None = None
    by: str = ""
    order: str = ""
    charset: str = ""

    @property
    def verb(self) -> str:
        if self.by:
            return "group-apply"
        return "table-apply" if self.rows is None else "row-apply"


def run(
    file: Path,
    *,
    times: int | None,
    data: Data | None,
    parallel: bool | int | None,
    parameters: dict[str, Any],
    seed: int | None,
    graphics: bool,
    goes_on: bool,
    python: str | None,
) -> tuple[str, dict[str, Any]]:
    """Run a file's function; give which of the five ways that was, and what a server would answer.

    Raises:
        InvalidArguments: the function does not take them; nothing was run.
        CallFailed: a call failed, and the run was not to go on.
        ClickException: the file holds no function, the rows cannot be read, or the interpreter
            does not start.
    """
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    degree = (os.cpu_count() or _LEVEL) if parallel is True else int(parallel or 1)
    control = {name: value for name, value in parameters.items() if name.startswith(_CONTROL)}
    spec = {
        "name": file.stem,
        "source": script_text(file) + "\n",
        "indexed": times is not None,
        "times": times or 1,
        "parameters": {n: value for n, value in parameters.items() if n not in control},
        "seed": seed,
        "graphics": graphics,
        "degree": max(degree, 1),
    }
    verb = "do-eval" if times is None else "index-apply"
    if data is not None:
        verb = data.verb
        spec["data"] = {
            "path": str(data.file.resolve()),
            "form": FORMS[data.file.suffix.lower()],
            "rows": data.rows or 0,
            "by": data.by,
            "order": data.order,
            "charset": data.charset,
        }
        spec["input_type"] = _input_type(control)
        spec["na_omit"] = str(control.get("oml_na_omit", "")).lower() in {"true", "1"}
        spec["splice"] = verb == "row-apply" and not graphics
    python = python or sys.executable
    head, outcomes = _outcomes(spec, python)
    talk(f"ran {len(outcomes)} calls here, seed {seed}")
    calls = _Calls(verb, head.get("keys"))
    return verb, _folded(outcomes, calls, graphics=graphics, goes_on=goes_on, python=python)


@dataclass(frozen=True)
class _Calls:
    """What the calls of a run are called: by index, by group, or not at all."""

    verb: str
    keys: list[str] | None

    @property
    def are_many(self) -> bool:
        return self.verb not in {"do-eval", "table-apply"}

    def entry(self, index: int) -> dict[str, Any]:
        """Name a call as the member `errors` does."""
        if not self.are_many:
            return {}
        named = {} if self.keys is None else {"name": self.keys[index - 1]}
        return {"index": index, **named}

    def member(self, index: int) -> dict[str, Any]:
        """Name the call that drew, as image objects do."""
        match self.verb:
            case "index-apply":
                return {"TIME": index}
            case "row-apply":
                return {"NAME": str(index)}
            case "group-apply":
                assert self.keys is not None, "groups have keys"
                return {"NAME": self.keys[index - 1]}
            case _:
                return {}

    def folded(self, values: list[Any]) -> Any:
        """Fold the values of all calls."""
        match self.verb:
            case "index-apply":
                return values
            case "row-apply":
                parts = ([part] if part is None else part for part in values)
                return [element for part in parts for element in part]
            case "group-apply":
                return dict(zip(self.keys or (), values, strict=True))
            case _:
                return values[0]


def _outcomes(spec: dict[str, Any], python: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Have the calls run; give what was said before them, and their outcomes by index."""
    found = importlib.util.find_spec(RUNTIME)
    if found is None or found.origin is None:
        raise click.ClickException(f"there is no module {RUNTIME}: install fanfold anew")
    folder = str(Path(found.origin).parents[1])
    try:
        text = json.dumps(spec, allow_nan=False)
    except ValueError as exc:
        raise NotSendable(f"The arguments cannot be sent as JSON: {exc}") from exc
    try:
        done = subprocess.run(
            [python, "-I", "-c", _START.format(folder=folder)],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except OSError as exc:
        raise click.ClickException(f"cannot start {python}: {exc.strerror}") from exc
    if done.returncode != 0:
        raise click.ClickException("the function could not be run")
    head, *outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    if "refused" in head:
        raise errors.InvalidArguments(head["refused"])
    return head, sorted(outcomes, key=_index)


def _folded(
    outcomes: list[dict[str, Any]], calls: _Calls, *, graphics: bool, goes_on: bool, python: str
) -> dict[str, Any]:
    """Make the answer, in the shapes of the compatible wire; show what the calls printed."""
    failures = []
    for outcome in outcomes:
        where = f"[{outcome['index']}] " if calls.are_many else ""
        for line in outcome.get("log", "").rstrip("\n").split("\n"):
            if line:
                talk(where + line)
        if "error" in outcome:
            failures.append({**calls.entry(outcome["index"]), **outcome["error"]})
    if any(failure["type"] in _OF_INTERPRETERS for failure in failures):
        talk(f"The function runs in {python}; --python names another, such as an environment's.")
    if failures and not goes_on:
        raise failure_of(failures[0])
    answer: dict[str, Any]
    if graphics:
        images = [image for outcome in outcomes for image in _images(outcome, calls)]
        answer = {"result": dict(_numbered(images)) if calls.are_many else images}
    else:
        answer = {"result": calls.folded([outcome.get("value") for outcome in outcomes])}
    if failures:
        answer["errors"] = failures
    return answer


def _images(outcome: dict[str, Any], calls: _Calls) -> list[dict[str, Any] | None]:
    if "error" in outcome:
        return [None]
    timed = calls.member(outcome["index"])
    rest = {"DATA": outcome.get("text", json.dumps(outcome.get("value"))), **timed}
    drawn: list[dict[str, Any] | None] = []
    for number, (png, title) in enumerate(outcome.get("images", ()), 1):
        titled = {} if title is None else {"TITLE": title}
        drawn.append({"IMAGE": png, **rest, **titled, "ID": number})
    return drawn or [rest]


def _numbered(images: list[dict[str, Any] | None]) -> list[tuple[str, dict[str, Any] | None]]:
    return [(str(number), image) for number, image in enumerate(images)]


def _input_type(control: dict[str, Any]) -> str:
    given = control.get("oml_input_type", INPUT_TYPES[0])
    if given not in INPUT_TYPES:
        known = ", ".join(INPUT_TYPES)
        raise click.BadParameter(
            f"oml_input_type is {given!r}; it should be one of {known}.", param_hint="--param"
        )
    return str(given)


def _index(outcome: dict[str, Any]) -> int:
    return int(outcome["index"])
