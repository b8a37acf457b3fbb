"""`fanfold new`: a script to start from."""

from __future__ import annotations

import re
from pathlib import Path

import click

from fanfold.cli.talking import say, with_json

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

TEXT = '''def {name}(index, rng, points=1000):
    """Estimate pi from random points in the unit square.

    index: 1, 2, … for index-apply. rng: a NumPy generator, made for each call and different in
    each; it need not be given. points: an argument of yours, by name.
    """
    x, y = rng.random((2, points))
    return {{"index": index, "pi": 4 * float((x * x + y * y < 1).mean())}}
'''


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_json
def new(file: Path, *, as_json: bool) -> None:
    """Write a script to start from to FILE, such as simulate.py."""
    file = file if file.suffix else file.with_suffix(".py")
    if not _NAME.fullmatch(file.stem) or file.suffix != ".py":
        raise click.BadParameter(
            f'"{file.name}" should be the name of a function and ".py".', param_hint="FILE"
        )
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEXT.format(name=file.stem))
    except FileExistsError as exc:
        raise click.ClickException(f"{file} is there already: take another name.") from exc
    say(
        f"wrote {file}. To try it here:  fanfold run --local {file} --times 10\n"
        f"on the server:  fanfold run {file} --times 1000 --parallel --follow",
        {"file": str(file)},
        as_json=as_json,
    )
