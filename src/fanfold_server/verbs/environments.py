"""`fanfold env`: the environments of this machine, looked at, turned to, named and removed.

They are made in `making.py`, and go to other servers in `moving.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.making import env_create, env_update
from fanfold_server.verbs.moving import env_export, env_import
from fanfold_server.verbs.place import json_option, settings_of
from fanfold_server.verbs.workshop import operator, with_workshop, workshop_options

if TYPE_CHECKING:
    from fanfold_server.environments.shelf import BuiltShelf
    from fanfold_server.model.environment import Made
    from fanfold_server.service.provisioning import Provisioning


@click.group()
def env() -> None:
    """Make, list, update, move and remove the environments in which functions run."""


@env.command("list")
@json_option
@workshop_options
def env_list(*, as_json: bool, **place: object) -> None:
    """List name and prefix of all environments; of those built here, more.

    That is version, Python, packages, size, tags, when something last ran there, and whether an
    interpreter has started (warm).
    """
    from fanfold_server.workshop import make_shelf, opened_once

    with clear_errors():
        settings = settings_of(**place)
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
@workshop_options
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

    said = with_workshop(place, show)
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


@env.command("rollback")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@workshop_options
def env_rollback(name: str, version: int, **place: object) -> None:
    """Let what begins from now on run in VERSION of the environment NAME."""

    async def turn(provisioning: Provisioning, _shelf: BuiltShelf) -> None:
        provisioning.make_current(operator(), name, version)

    with_workshop(place, turn)
    click.echo(f"{name} is version {version}", err=True)


@env.command("drop")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="This version alone.")
@workshop_options
def env_drop(name: str, version: int | None, **place: object) -> None:
    """Remove the environment NAME once nothing runs there; jobs that want it keep it."""

    async def drop(provisioning: Provisioning, _shelf: BuiltShelf) -> None:
        await provisioning.drop(operator(), name, version)

    with_workshop(place, drop)
    click.echo(f"dropped {name}" + (f", version {version}" if version else ""), err=True)


@env.command("register")
@click.argument("name")
@click.argument("prefix", type=click.Path(path_type=Path))
@workshop_options
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
        settings = settings_of(**place)
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


for command in (env_create, env_update, env_export, env_import):
    env.add_command(command)
