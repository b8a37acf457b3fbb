"""What the commands share that work on this machine's environments.

A server may run beside them: it sees what they do within a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.place import place_options, settings_of

if TYPE_CHECKING:
    from fanfold_server.environments.shelf import BuiltShelf
    from fanfold_server.model.actor import Actor
    from fanfold_server.model.environment import Build
    from fanfold_server.service.provisioning import Provisioning

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., object])

_POLL_S = 0.2


def workshop_options(command: C) -> C:
    """Let a command be told where the environments are; it gets what it is told as `**place`."""
    environments = click.option(
        "--environments",
        type=click.Path(path_type=Path),
        help="Directory of environments, if not DATA/environments.  [FANFOLD_ENVIRONMENTS]",
    )
    return place_options(environments(command))


def operator() -> Actor:
    """Act as who owns what belongs to all: whoever may write the data directory may do that."""
    from fanfold_server.model.actor import GLOBAL_OWNER, Actor, Role

    return Actor(user_id=0, name=GLOBAL_OWNER, role=Role.ADMIN)


def with_workshop(
    place: Mapping[str, object], act: Callable[[Provisioning, BuiltShelf], Awaitable[T]]
) -> T:
    """Do something with the environments of this machine; tell what goes wrong in a line.

    Args:
        place: where they are, by field name of the settings.
    """
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
        settings = settings_of(**place)
        return asyncio.run(run())


async def watch(
    provisioning: Provisioning, build: Build, task: asyncio.Task[Any], *, quiet: bool
) -> None:
    """Tell each step as it begins; until the build has ended."""
    from fanfold_server.model.errors import UnknownBuild

    told = ""
    while not task.done():
        await asyncio.wait([task], timeout=_POLL_S)
        try:
            now = provisioning.build(operator(), build.id)
        except UnknownBuild:  # it has not begun
            continue
        if now.step != told and not quiet:
            told = now.step
            click.echo(f"{now.progress:4.0%}  {told}", err=True)
