"""`fanfold user`: who has an account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.passwords import read_password
from fanfold_server.verbs.place import json_option, place_options, settings_of, write_line

if TYPE_CHECKING:
    from fanfold_server.service.access import Access

T = TypeVar("T")


@click.group()
def user() -> None:
    """Add, list and change accounts; a running server sees it within 5 s."""


_name_argument = click.argument("name")
_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input (first line)."
)


@user.command("add")
@_name_argument
@click.option("--role", type=click.Choice(["developer", "admin"]), default="developer")
@place_options
@_password_option
def user_add(name: str, role: str, password_stdin: bool, **place: object) -> None:
    """Add the account NAME."""
    from fanfold_server.model.actor import Role

    password = read_password(from_stdin=password_stdin, is_new=True)
    _with_access(
        place,
        lambda access: access.add_user(name, password, Role(role)),
        did=("user.add", name),
        makes=True,
    )
    click.echo(f"added {name.upper()} as {role}", err=True)


@user.command("list")
@json_option
@place_options
def user_list(*, as_json: bool, **place: object) -> None:
    """List all accounts: name, role, state, since when."""
    for account in _with_access(place, lambda access: access.list_users()):
        line = {
            "name": account.name,
            "role": account.role,
            "state": "disabled" if account.disabled else "enabled",
            "created": f"{account.created:%Y-%m-%dT%H:%M:%SZ}",
        }
        write_line(line, as_json=as_json)


@user.command("disable")
@_name_argument
@place_options
def user_disable(name: str, **place: object) -> None:
    """Keep NAME from logging in, and end its sessions."""
    _with_access(place, lambda access: access.disable(name), did=("user.disable", name))
    click.echo(f"disabled {name.upper()}", err=True)


@user.command("enable")
@_name_argument
@place_options
def user_enable(name: str, **place: object) -> None:
    """Let NAME log in again."""
    _with_access(place, lambda access: access.enable(name), did=("user.enable", name))
    click.echo(f"enabled {name.upper()}", err=True)


@user.command("set-password")
@_name_argument
@place_options
@_password_option
def user_set_password(name: str, password_stdin: bool, **place: object) -> None:
    """Give NAME another password, and end its sessions."""
    password = read_password(from_stdin=password_stdin, is_new=True)
    _with_access(
        place, lambda access: access.set_password(name, password), did=("user.set-password", name)
    )
    click.echo(f"changed the password of {name.upper()}", err=True)


def _with_access(
    place: Mapping[str, object],
    act: Callable[[Access], Awaitable[T]],
    did: tuple[str, str] | None = None,
    *,
    makes: bool = False,
) -> T:
    """Do something with the accounts, and note action and account in the audit log.

    Args:
        makes: where there is no database, make it.
    """
    from fanfold_server.state import make_access, note_command, open_existing_state, open_state

    async def run() -> T:
        async with open_state(settings) if makes else open_existing_state(settings) as store:
            done = await act(make_access(store, settings))
            if did is not None:
                await note_command(store, *did)
            return done

    with clear_errors():
        settings = settings_of(**place)
        return asyncio.run(run())
