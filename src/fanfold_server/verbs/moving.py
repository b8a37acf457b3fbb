"""`fanfold env export` and `import`: environments go from one server to another."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fanfold_server.verbs.place import settings_of
from fanfold_server.verbs.workshop import operator, watch, with_workshop, workshop_options

if TYPE_CHECKING:
    from fanfold_server.environments.shelf import BuiltShelf
    from fanfold_server.model.environment import Made
    from fanfold_server.service.provisioning import Provisioning


@click.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--version", type=click.IntRange(min=1), help="This version; else the current one.")
@workshop_options
def env_export(name: str, file: Path, version: int | None, **place: object) -> None:
    """Write the environment NAME, its lock and every package, to FILE.

    A server without a network imports it. Each package is fetched from where it came, and compared
    with the lock. Passwords and tokens in addresses stay here.
    """
    from fanfold_server.workshop import make_carrying

    if not os.access(file.parent, os.W_OK):
        raise click.BadParameter(f"{file.parent} cannot be written to", param_hint="FILE")

    async def export(provisioning: Provisioning, shelf: BuiltShelf) -> int:
        carrying = make_carrying(settings_of(**place), provisioning, shelf)
        async with carrying.export(operator(), name, version) as packed:
            # Beside it first: whoever looks finds the old file or the whole new one.
            fresh = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                await asyncio.to_thread(shutil.copyfile, packed, fresh)
                fresh.replace(file)
            finally:
                fresh.unlink(missing_ok=True)
            return packed.stat().st_size

    size_bytes = with_workshop(place, export)
    click.echo(f"{name} is in {file}, {size_bytes:,} bytes", err=True)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What it is to be called here; else what it was called.")
@click.option("--overwrite", is_flag=True, help="Make another version of one that is there.")
@click.option("--quiet", "-q", is_flag=True, help="Say only what goes wrong.")
@workshop_options
def env_import(
    file: Path, *, name: str | None, overwrite: bool, quiet: bool, **place: object
) -> None:
    """Make the environment that another server has exported to FILE; no network is needed.

    Nothing is made unless every package is what the lock says. A virtual environment needs the
    Python it was made with on this machine; a conda environment brings its own.
    """
    from fanfold_server.workshop import make_carrying

    async def bring(provisioning: Provisioning, shelf: BuiltShelf) -> Made:
        carrying = make_carrying(settings_of(**place), provisioning, shelf)
        async with carrying.room() as room:
            order = await carrying.order(operator(), file, room, name=name, replaces=overwrite)
            ready = provisioning.ready(order)
            if ready is not None:
                return ready
            build, task = provisioning.start(order)
            await watch(provisioning, build, task, quiet=quiet)
            return task.result()

    made = with_workshop(place, bring)
    click.echo(f"{made.name} is {made.prefix}, version {made.version}", err=True)
