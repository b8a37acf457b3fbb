"""The operator's commands for environments: `fanfold env …`. They work on this machine's files.

A server may run beside them: it sees what they do within a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanfold_server.cli_errors import clear_errors

if TYPE_CHECKING:
    from fanfold_server.environments.shelf import BuiltShelf
    from fanfold_server.model.actor import Actor
    from fanfold_server.model.environment import Build, Made, Recipe
    from fanfold_server.service.provisioning import Provisioning
    from fanfold_server.settings import Settings

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., object])

_MAKERS = ("uv", "rattler", "conda", "mamba", "micromamba")
_POLL_S = 0.2


def _place_options(command: C) -> C:
    """Let a command be told where the environments are; it gets what it is told as `**place`."""
    data = click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="Directory of the server's state.  [FANFOLD_DATA]",
    )
    database = click.option(
        "--database",
        help="Address of a PostgreSQL in place of the file there.  [FANFOLD_DATABASE]",
    )
    environments = click.option(
        "--environments",
        type=click.Path(path_type=Path),
        help="Directory of environments, if not DATA/environments.  [FANFOLD_ENVIRONMENTS]",
    )
    return data(database(environments(command)))


@click.group()
def env() -> None:
    """Make, list, update, move and remove the environments in which functions run."""


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
@_place_options
def env_list(*, as_json: bool, **place: object) -> None:
    """List name and prefix of all environments; of those built here, more.

    That is version, Python, packages, size, tags, when something last ran there, and whether an
    interpreter has started (warm).
    """
    from fanfold_server.workshop import make_shelf, opened_once

    with clear_errors():
        settings = _settings(**place)
        shelf = make_shelf(settings, opened_once(settings))
    seen: set[str] = set()
    for folder in (settings.environments_folder, *settings.environment_dirs):
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (entry / "bin" / "python").exists() and entry.name not in seen:
                seen.add(entry.name)
                made = shelf.current(entry.name) if folder == settings.environments_folder else None
                _print_entry(entry, made, shelf, as_json=as_json)


def _print_entry(entry: Path, made: Made | None, shelf: BuiltShelf, *, as_json: bool) -> None:
    from fanfold_server.environments.folders import human_size

    prefix = str(entry.resolve())
    if as_json:
        known = _summary(made, shelf) if made else {"name": entry.name}
        click.echo(json.dumps({**known, "prefix": prefix}))
    elif made is None:
        click.echo(f"{entry.name}\t{prefix}")
    else:
        click.echo(
            f"{entry.name}\t{prefix}\tversion {made.version}\tPython {made.python}"
            f"\t{len(made.packages)} packages\t{human_size(made.size_bytes)}"
            f"\t{','.join(f'{tag}={text}' for tag, text in made.tags.items())}"
            f"\t{_usage(made, shelf)}"
        )


def _usage(made: Made, shelf: BuiltShelf) -> str:
    used = shelf.last_used(made)
    last = f"last used {used:%Y-%m-%dT%H:%M:%SZ}" if used else "never used"
    return f"{last}, {'warm' if shelf.is_warm(made) else 'cold'}"


@env.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_place_options
def env_show(name: str, *, as_json: bool, **place: object) -> None:
    """Show an environment that was built here: its versions, its packages, whose jobs want it."""

    async def show(provisioning: Provisioning, shelf: BuiltShelf) -> dict[str, Any]:
        current, versions = provisioning.versions(name)
        uses = await provisioning.uses()
        wanted = {str(v.version): dict(uses.get((name, v.version), {})) for v in versions}
        shown = current or versions[0]
        return {
            **_summary(shown, shelf),
            "packages": dict(shown.packages),
            "versions": [made.version for made in versions],
            "jobs": {version: owners for version, owners in wanted.items() if owners},
        }

    said = _with_workshop(place, show)
    if as_json:
        click.echo(json.dumps(said))
        return
    for key, value in said.items():
        if key == "packages":
            click.echo("packages:")
            for package, version in value.items():
                click.echo(f"  {package} {version}")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            click.echo(f"{key}: {text}")


def _summary(made: Made, shelf: BuiltShelf) -> dict[str, Any]:
    used = shelf.last_used(made)
    return {
        "name": made.name,
        "version": made.version,
        "owner": made.owner,
        "description": made.description,
        "tags": dict(made.tags),
        "kind": made.recipe.kind,
        "maker": str(made.recipe.maker),
        "python": made.python,
        "package_count": len(made.packages),
        "size_bytes": made.size_bytes,
        "created": made.created.isoformat(timespec="seconds"),
        "last_used": used.isoformat(timespec="seconds") if used else None,
        "warm": shelf.is_warm(made),
    }


# ------------------------------------------------------------------ making


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


@env.command("create")
@click.argument("name")
@_recipe_options
@_place_options
def env_create(name: str, **given: Any) -> None:
    """Make the environment NAME of PACKAGES, or of what --spec says.

    `python=3.11` among the packages says which Python. With --channel they are conda packages. An
    environment of that name that is made from the same is left alone.
    """
    _make(name, replaces=False, **given)


@env.command("update")
@click.argument("name")
@_recipe_options
@_place_options
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
            _operator(),
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
        await _watch(provisioning, build, task, quiet=quiet)
        return task.result()

    if recipe is None and not replaces:
        raise click.UsageError("say what it is made from: packages, or --spec FILE")
    made = _with_workshop(place, make)
    click.echo(f"{made.name} is {made.prefix}, version {made.version}", err=True)


async def _watch(
    provisioning: Provisioning, build: Build, task: asyncio.Task[Any], *, quiet: bool
) -> None:
    """Tell each step as it begins; until the build has ended."""
    from fanfold_server.model.errors import UnknownBuild

    told = ""
    while not task.done():
        await asyncio.wait([task], timeout=_POLL_S)
        try:
            now = provisioning.build(_operator(), build.id)
        except UnknownBuild:  # it has not begun
            continue
        if now.step != told and not quiet:
            told = now.step
            click.echo(f"{now.progress:4.0%}  {told}", err=True)


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


# ------------------------------------------------------------------ turning and dropping


@env.command("rollback")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@_place_options
def env_rollback(name: str, version: int, **place: object) -> None:
    """Let what begins from now on run in VERSION of the environment NAME."""

    async def turn(provisioning: Provisioning, _shelf: BuiltShelf) -> None:
        provisioning.make_current(_operator(), name, version)

    _with_workshop(place, turn)
    click.echo(f"{name} is version {version}", err=True)


@env.command("drop")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="This version alone.")
@_place_options
def env_drop(name: str, version: int | None, **place: object) -> None:
    """Remove the environment NAME once nothing runs there; jobs that want it keep it."""

    async def drop(provisioning: Provisioning, _shelf: BuiltShelf) -> None:
        await provisioning.drop(_operator(), name, version)

    _with_workshop(place, drop)
    click.echo(f"dropped {name}" + (f", version {version}" if version else ""), err=True)


# ------------------------------------------------------------------ moving


@env.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--version", type=click.IntRange(min=1), help="This version; else the current one.")
@_place_options
def env_export(name: str, file: Path, version: int | None, **place: object) -> None:
    """Write the environment NAME, its lock and every package, to FILE.

    A server without a network imports it. Each package is fetched from where it came, and compared
    with the lock. Passwords and tokens in addresses stay here.
    """
    from fanfold_server.workshop import make_carrying

    if not os.access(file.parent, os.W_OK):
        raise click.BadParameter(f"{file.parent} cannot be written to", param_hint="FILE")

    async def export(provisioning: Provisioning, shelf: BuiltShelf) -> int:
        carrying = make_carrying(_settings(**place), provisioning, shelf)
        async with carrying.export(_operator(), name, version) as packed:
            # Beside it first: whoever looks finds the old file or the whole new one.
            fresh = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                await asyncio.to_thread(shutil.copyfile, packed, fresh)
                fresh.replace(file)
            finally:
                fresh.unlink(missing_ok=True)
            return packed.stat().st_size

    size_bytes = _with_workshop(place, export)
    click.echo(f"{name} is in {file}, {size_bytes:,} bytes", err=True)


@env.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What it is to be called here; else what it was called.")
@click.option("--overwrite", is_flag=True, help="Make another version of one that is there.")
@click.option("--quiet", "-q", is_flag=True, help="Say only what goes wrong.")
@_place_options
def env_import(
    file: Path, *, name: str | None, overwrite: bool, quiet: bool, **place: object
) -> None:
    """Make the environment that another server has exported to FILE; no network is needed.

    Nothing is made unless every package is what the lock says. A virtual environment needs the
    Python it was made with on this machine; a conda environment brings its own.
    """
    from fanfold_server.workshop import make_carrying

    async def bring(provisioning: Provisioning, shelf: BuiltShelf) -> Made:
        carrying = make_carrying(_settings(**place), provisioning, shelf)
        async with carrying.room() as room:
            order = await carrying.order(_operator(), file, room, name=name, replaces=overwrite)
            ready = provisioning.ready(order)
            if ready is not None:
                return ready
            build, task = provisioning.start(order)
            await _watch(provisioning, build, task, quiet=quiet)
            return task.result()

    made = _with_workshop(place, bring)
    click.echo(f"{made.name} is {made.prefix}, version {made.version}", err=True)


@env.command("register")
@click.argument("name")
@click.argument("prefix", type=click.Path(path_type=Path))
@_place_options
def env_register(name: str, prefix: Path, **place: object) -> None:
    """Give the virtual environment or conda prefix at PREFIX the name NAME."""
    from fanfold_server.environments.folders import NAME
    from fanfold_server.environments.places import Places
    from fanfold_server.state import make_private

    if not NAME.fullmatch(name):
        raise click.BadParameter(
            f'"{name}" is no name: it begins with a letter or digit and holds at most 64 letters, '
            'digits, ".", "_" and "-".',
            param_hint="NAME",
        )
    # Absolute, but not resolved: a prefix that is itself a link may be pointed at a newer one.
    target = Path(os.path.abspath(prefix))  # noqa: PTH100  # Path.absolute() keeps ".."
    if not os.access(target / "bin" / "python", os.X_OK):
        raise click.BadParameter(f"there is no {target}/bin/python", param_hint="PREFIX")
    with clear_errors():
        settings = _settings(**place)
        folder = settings.environments_folder
        make_private(settings.data)
        folder.mkdir(exist_ok=True, parents=True)
        link = folder / name
        if link.exists() and not link.is_symlink():
            raise click.ClickException(f"{link} is an environment of its own, not a link")
        if link.is_symlink() and Places(folder).folder(name) == link.resolve().parent:
            raise click.ClickException(f'the environment "{name}" was built here: drop it first')
        # Renamed into place: a running server finds the old one or the new one, never none.
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.symlink_to(target)
        fresh.replace(link)
    click.echo(f"{name} is {target}", err=True)


# -------------------------------------------------------------------------------------------------


def _operator() -> Actor:
    """Whoever may write to the data directory may do everything."""
    from fanfold_server.model.actor import GLOBAL_OWNER, Actor, Role

    return Actor(user_id=0, name=GLOBAL_OWNER, role=Role.ADMIN)


def _with_workshop(
    place: Mapping[str, object], act: Callable[[Provisioning, BuiltShelf], Awaitable[T]]
) -> T:
    import structlog

    from fanfold_server.workshop import open_workshop

    async def run() -> T:
        # What there is to tell, the command tells; results alone belong on stdout.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        async with open_workshop(settings) as (provisioning, shelf):
            try:
                return await act(provisioning, shelf)
            except OSError as exc:  # what the operator has named, or the disk
                raise click.ClickException(f"{exc.filename or 'the disk'}: {exc.strerror}") from exc

    with clear_errors():
        settings = _settings(**place)
        return asyncio.run(run())


def _settings(**given: object) -> Settings:
    from fanfold_server.settings import load_settings

    return load_settings({name: value for name, value in given.items() if value is not None})
