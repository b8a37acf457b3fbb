"""`fanfold access-token`: access tokens, made by the operator for an account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.place import json_option, place_options, settings_of, write_line

if TYPE_CHECKING:
    from fanfold_server.service.library import Library
    from fanfold_server.service.tokens import AccessTokens

T = TypeVar("T")


@click.group("access-token")
def token() -> None:
    """Make, list and revoke access tokens: what programs are given in place of a password.

    A person makes them with POST /api/v1/tokens; these commands are for whoever runs the server,
    and work on its database. A running server knows a revoked token for 5 s at most.
    """


_user_option = click.option("--user", required=True, help="Whose token it is.")
_name_argument = click.argument("name")


@token.command("create")
@_name_argument
@_user_option
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(["run", "publish", "admin", "metrics"]),
    help="What it may be used for; several times for several.",
)
@click.option("--days", type=int, default=30, show_default=True, help="How long it lives.")
@click.option("--script", help="The only script that it is good for.")
@click.option("--owner", help="Whose script that is; without it the user's own, or the global one.")
@place_options
def token_create(
    *,
    name: str,
    user: str,
    scopes: tuple[str, ...],
    days: int,
    script: str | None,
    owner: str | None,
    **place: object,
) -> None:
    """Make a token NAME and write it to standard output; it is told only now."""
    from fanfold_server.model.actor import Actor, Role, Scope, account_name

    async def create(tokens: AccessTokens, library: Library) -> str:
        bound = None
        if script is not None:
            reader = Actor(user_id=0, name=account_name(user), role=Role.DEVELOPER)
            found = await library.resolve(reader, script, owner)
            bound = (found.owner, found.name)
        wanted = [Scope(word) for word in scopes]
        _, text = await tokens.create(user, name, wanted, days=days, script=bound)
        return text

    click.echo(_with_tokens(place, create, did=("token.create", f"{name} {user}")))
    click.echo(f"made {name} of {user.upper()} for {', '.join(scopes)}, {days} days", err=True)


@token.command("list")
@_user_option
@json_option
@place_options
def token_list(user: str, *, as_json: bool, **place: object) -> None:
    """List an account's tokens: name, scopes, script, end."""

    async def listing(tokens: AccessTokens, _: Library) -> list[dict[str, str]]:
        return [
            {
                "name": one.name,
                "scopes": ",".join(sorted(one.scopes)),
                "script": "/".join(reversed(one.script)) if one.script else "*",
                "expires": f"{one.expires:%Y-%m-%dT%H:%M:%SZ}",
            }
            for one in await tokens.listing(user)
        ]

    for line in _with_tokens(place, listing):
        write_line(line, as_json=as_json)


@token.command("revoke")
@_name_argument
@_user_option
@place_options
def token_revoke(name: str, user: str, **place: object) -> None:
    """Revoke the token NAME."""

    async def remove(tokens: AccessTokens, _: Library) -> None:
        await tokens.remove(user, name)

    _with_tokens(place, remove, did=("token.delete", f"{name} {user}"))
    click.echo(f"revoked {name} of {user.upper()}", err=True)


def _with_tokens(
    place: Mapping[str, object],
    act: Callable[[AccessTokens, Library], Awaitable[T]],
    did: tuple[str, str] | None = None,
) -> T:
    from fanfold_server.state import (
        make_library,
        make_tokens,
        note_command,
        open_existing_state,
    )

    async def run() -> T:
        async with open_existing_state(settings) as store:
            done = await act(make_tokens(store, settings), make_library(store, settings))
            if did is not None:
                await note_command(store, *did)
            return done

    with clear_errors():
        settings = settings_of(**place)
        return asyncio.run(run())
