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
from pathlib import Path
from typing import Any

import click

from fanfold.cli.talking import talk
from fanfold.faults import NotSendable
from fanfold.runs import failure_of

RUNTIME = "fanfold_runtime"
_SEED_BITS = 53
_LEVEL = 2
_START = """\
import sys
sys.path.insert(0, {folder!r})
from fanfold_runtime.alone import main
sys.exit(main())
"""


def run(
    file: Path,
    *,
    times: int | None,
    parallel: bool | int | None,
    parameters: dict[str, Any],
    seed: int | None,
    graphics: bool,
    goes_on: bool,
    python: str | None,
) -> dict[str, Any]:
    """Run a file's function; give what a server would answer.

    Raises:
        CallFailed: a call failed, and the run was not to go on.
        ClickException: the file holds no function, or the interpreter does not start.
    """
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    degree = (os.cpu_count() or _LEVEL) if parallel is True else int(parallel or 1)
    spec = {
        "name": file.stem,
        "source": file.read_text(encoding="utf-8") + "\n",
        "indexed": times is not None,
        "times": times or 1,
        "parameters": parameters,
        "seed": seed,
        "graphics": graphics,
        "degree": max(degree, 1),
    }
    outcomes = _outcomes(spec, python or sys.executable)
    talk(f"ran {len(outcomes)} calls here, seed {seed}")
    return _folded(outcomes, times=times, graphics=graphics, goes_on=goes_on)


def _outcomes(spec: dict[str, Any], python: str) -> list[dict[str, Any]]:
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
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    return sorted(outcomes, key=_index)


def _folded(
    outcomes: list[dict[str, Any]], *, times: int | None, graphics: bool, goes_on: bool
) -> dict[str, Any]:
    """Make the answer, in the shapes of the compatible wire; show what the calls printed."""
    errors = []
    for outcome in outcomes:
        where = f"[{outcome['index']}] " if times is not None else ""
        for line in outcome.get("log", "").rstrip("\n").split("\n"):
            if line:
                talk(where + line)
        if "error" in outcome:
            errors.append({"index": outcome["index"], **outcome["error"]})
    if errors and not goes_on:
        raise failure_of(errors[0])
    answer: dict[str, Any]
    if graphics:
        images = [image for outcome in outcomes for image in _images(outcome, times)]
        answer = {"result": images if times is None else dict(_numbered(images))}
    else:
        values = [outcome.get("value") for outcome in outcomes]
        answer = {"result": values[0] if times is None else values}
    if errors:
        answer["errors"] = errors
    return answer


def _images(outcome: dict[str, Any], times: int | None) -> list[dict[str, Any]]:
    if "error" in outcome:
        return []
    timed = {} if times is None else {"TIME": outcome["index"]}
    rest = {"DATA": outcome.get("text", json.dumps(outcome.get("value"))), **timed}
    drawn = []
    for number, (png, title) in enumerate(outcome.get("images", ()), 1):
        titled = {} if title is None else {"TITLE": title}
        drawn.append({"IMAGE": png, **rest, **titled, "ID": number})
    return drawn or [rest]


def _numbered(images: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(str(number), image) for number, image in enumerate(images)]


def _index(outcome: dict[str, Any]) -> int:
    return int(outcome["index"])
