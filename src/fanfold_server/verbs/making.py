"""`fanfold env create` and `update`: environments are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.workshop import operator, watch, with_workshop, workshop_options

if TYPE_CHECKING:
    from fanfold_server.environments.shelf import BuiltShelf
    from fanfold_server.model.environment import Made, Recipe
    from fanfold_server.service.provisioning import Provisioning

C = TypeVar("C", bound=Callable[..., object])

_MAKERS = ("uv", "rattler", "conda", "mamba", "micromamba")


def _recipe_options(command: C) -> C:
    """Let a command be told what an environment is made from."""
    options = (
        click.argument("packages", nargs=-1),
        click.option(
            "--spec",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="environment.yml, requirements.txt or pyproject.toml.",
        ),
        click.option(
            "--channel", "-c", "channels", multiple=True, help="Where conda packages are."
        ),
        click.option(
            "--with",
            "maker",
            type=click.Choice(_MAKERS),
            help="What makes it: uv (virtual environments), rattler (conda's), or a conda, mamba "
            "or micromamba that is on this machine.",
        ),
        click.option("--description", help="What it is for, in a line."),
        click.option("--tag", "tags", multiple=True, metavar="NAME=TEXT", help="For clients."),
        click.option("--quiet", "-q", is_flag=True, help="Say only what goes wrong."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("create")
@click.argument("name")
@_recipe_options
@workshop_options
def env_create(name: str, **given: Any) -> None:
    """Make the environment NAME of PACKAGES, or of what --spec says.

    `python=3.11` among the packages says which Python. With --channel they are conda packages. An
    environment of that name that is made from the same is left alone.
    """
    _make(name, replaces=False, **given)


@click.command("update")
@click.argument("name")
@_recipe_options
@workshop_options
def env_update(name: str, **given: Any) -> None:
    """Give the environment NAME another version, of what is said or of what it was made from.

    What runs goes on in the version in which it began; if no package has changed there is no new
    version.
    """
    _make(name, replaces=True, **given)


def _make(
    name: str,
    *,
    replaces: bool,
    packages: tuple[str, ...],
    spec: Path | None,
    channels: tuple[str, ...],
    maker: str | None,
    description: str | None,
    tags: tuple[str, ...],
    quiet: bool,
    **place: object,
) -> None:
    with clear_errors():
        recipe = _recipe(packages, spec, channels, maker)
    pairs = [tag.partition("=") for tag in tags]
    if any(not key or not sign for key, sign, _ in pairs):
        raise click.BadParameter("a tag is NAME=TEXT", param_hint="--tag")

    async def make(provisioning: Provisioning, _shelf: BuiltShelf) -> Made:
        wanted = recipe
        if wanted is None:
            current, versions = provisioning.versions(name)
            wanted = (current or versions[0]).recipe
        order = provisioning.order(
            operator(),
            name,
            wanted,
            description=description,
            tags={key: text for key, _, text in pairs} or None,
            replaces=replaces,
        )
        ready = provisioning.ready(order)
        if ready is not None:
            return ready
        build, task = provisioning.start(order)
        await watch(provisioning, build, task, quiet=quiet)
        return task.result()

    if recipe is None and not replaces:
        raise click.UsageError("say what it is made from: packages, or --spec FILE")
    made = with_workshop(place, make)
    click.echo(f"{made.name} is {made.prefix}, version {made.version}", err=True)


def _recipe(
    packages: tuple[str, ...], spec: Path | None, channels: tuple[str, ...], maker: str | None
) -> Recipe | None:
    from fanfold_server.model.environment import Maker
    from fanfold_server.service.recipes import format_of, read_recipe, recipe_of

    wanted = None if maker is None else Maker(maker)
    if spec is not None:
        if packages or channels:
            raise click.UsageError("give packages and channels, or --spec FILE, not both")
        return read_recipe(spec.read_text(), format_of(spec.name), maker=wanted)
    return recipe_of(packages, channels=channels, maker=wanted) if packages else None
