"""What every command needs that works on a server's state: where it is, and how to find it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from fanfold_server.settings import Settings

C = TypeVar("C", bound=Callable[..., object])

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory of the server's state.  [FANFOLD_DATA]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each, in place of a line."
)
_database_option = click.option(
    "--database",
    help="Address of a PostgreSQL in place of the file there.  [FANFOLD_DATABASE]",
)


def place_options(command: C) -> C:
    """Let a command be told which database; it gets what it is told as `**place`."""
    return data_option(_database_option(command))


def write_line(members: Mapping[str, str], *, as_json: bool) -> None:
    """Write an entry of a list: its members by tabs, or as JSON."""
    click.echo(json.dumps(members) if as_json else "\t".join(members.values()))


def settings_of(**given: object) -> Settings:
    """Gather the settings; what is None was not given."""
    from fanfold_server.settings import load_settings

    return load_settings({name: value for name, value in given.items() if value is not None})
