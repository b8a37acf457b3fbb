"""Results on their way to standard output and to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from fanfold.cli.talking import talk, write_json
from fanfold.jobs import Job
from fanfold.transport import Blocking
from fanfold.values import DataImage, Image, decode

FORMS = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
}


def form_of(file: Path) -> str:
    """Say which media type a file's ending stands for.

    Raises:
        BadParameter: none.
    """
    form = FORMS.get(file.suffix.lower())
    if form is None:
        raise click.BadParameter(
            f'"{file.name}" does not tell its form: it ends with one of {", ".join(FORMS)}.',
            param_hint="--out",
        )
    return form


def save_results(job: Job[Blocking], file: Path) -> None:
    """Write the values of a job to a file."""
    job.save(file, form_of(file))
    talk(f"wrote {file}")


def save_images(images: Iterable[Image], folder: Path) -> None:
    """Write figures to a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for count, image in enumerate(images, 1):
        # Groups may differ in what no file's name has: "a/b" and "a:b".
        name = image.filename if image.filename not in written else f"{count}-{image.filename}"
        image.save(folder / name)
        written.add(name)
    talk(f"wrote {len(written)} figures to {folder}")


def write_result(verb: str, answer: Mapping[str, Any], *, graphics: bool, as_json: bool) -> None:
    """Write what a run gave: the values, a line for each call or group; or all of it as JSON."""
    if as_json:
        write_json(answer)
        return
    result = answer.get("result")
    if graphics:
        result = _values(decode(verb, result, graphics=True, frames=False))
        if isinstance(result, list):
            for failure in answer.get("errors") or ():
                result.insert(failure["index"] - 1, None)
    if verb == "index-apply" or (verb == "row-apply" and isinstance(result, list)):
        for value in result or ():
            write_json(value)
    elif verb == "group-apply" and isinstance(result, dict):
        for name, value in result.items():
            write_json({name: value})
    else:
        write_json(result)
    for failure in answer.get("errors") or ():
        where = failure.get("name", failure.get("index", ""))
        talk(f"failed: {where} {failure['type']}: {failure['message']}".replace("  ", " "))


def _values(decoded: Any) -> Any:
    """Take the values of calls that drew; the figures go to files."""
    match decoded:
        case DataImage():
            return decoded.dat
        case list():
            return [part.dat for part in decoded]
        case _:
            return {name: part.dat for name, part in decoded.items()}
