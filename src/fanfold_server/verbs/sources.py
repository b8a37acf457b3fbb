"""`fanfold source`: databases of others, registered by whoever owns this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.passwords import read_password
from fanfold_server.verbs.place import json_option, place_options, settings_of, write_line

if TYPE_CHECKING:
    from fanfold_server.model.actor import Actor
    from fanfold_server.service.data_sources import DataSources

T = TypeVar("T")

_name = click.argument("name")
_KINDS = ("postgresql", "sqlite", "oracle", "sqlalchemy")


@click.group()
def source() -> None:
    """Register databases of others, whose rows functions may be given."""


@source.command("add")
@_name
@click.argument("url")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    help="By which driver it is read; otherwise by what the address begins with.",
)
@click.option("--password-stdin", is_flag=True, help="Read its password from standard input.")
@click.option("--ask-password", is_flag=True, help="Ask for its password.")
@click.option(
    "--password-from",
    metavar="WHERE",
    help="env:FANFOLD_SECRET_…, a variable of the server's, or file:…, a file of its directory of "
    "secrets; read each time it is needed, and not stored.",
)
@click.option("--max-connections", type=int, default=4, show_default=True, help="At once.")
@place_options
def source_add(
    name: str,
    url: str,
    *,
    kind: str | None,
    password_stdin: bool,
    ask_password: bool,
    password_from: str | None,
    max_connections: int,
    **place: object,
) -> None:
    """Register the database at URL as NAME, or register it anew.

    The address has no password in it: others could read it in the list of processes. Nobody may
    use the database until it is granted.
    """
    from fanfold_server.model.data_source import SourceKind
    from fanfold_server.service.data_sources import Registration

    with_password = password_stdin or ask_password
    said = Registration(
        name=name,
        kind=SourceKind(kind or _kind(url)),
        url=url,
        password=read_password(from_stdin=password_stdin, is_new=False) if with_password else None,
        password_from=password_from,
        max_connections=max_connections,
    )
    made, is_new = _act(
        place,
        lambda sources, actor: sources.register(actor, said),
        did=("source.publish", name),
    )
    click.echo(f"{'added' if is_new else 'changed'} {made.name}", err=True)


@source.command("list")
@json_option
@place_options
def source_list(*, as_json: bool, **place: object) -> None:
    """List name, kind, address, whence the password comes, and who may use it."""

    async def gather(sources: DataSources, actor: Actor) -> list[dict[str, str]]:
        lines = []
        for each in await sources.listing(actor):
            grants = await sources.grants(actor, each.name)
            users = ",".join(grant.grantee or "PUBLIC" for grant in grants) or "-"
            lines.append(
                {
                    "name": each.name,
                    "kind": str(each.kind),
                    "url": each.url,
                    "passwordFrom": each.password or "no password",
                    "users": users,
                }
            )
        return lines

    for line in _act(place, gather):
        write_line(line, as_json=as_json)


@source.command("test")
@_name
@place_options
def source_test(name: str, **place: object) -> None:
    """Try whether the database NAME lets this server in."""

    async def probe(sources: DataSources, actor: Actor) -> None:
        from fanfold_server.state import open_probe

        async with open_probe() as probe:
            await sources.probe(actor, name, probe)

    _act(place, probe, did=("source.test", name))
    click.echo(f"{name.upper()} lets this server in", err=True)


@source.command("drop")
@_name
@place_options
def source_drop(name: str, **place: object) -> None:
    """Forget the database NAME with its password and its grants."""
    _act(place, lambda sources, actor: sources.drop(actor, name), did=("source.delete", name))
    click.echo(f"dropped {name.upper()}", err=True)


@source.command("grant")
@_name
@click.argument("user")
@click.option("--revoke", is_flag=True, help="Take the grant back.")
@place_options
def source_grant(name: str, user: str, revoke: bool, **place: object) -> None:
    """Let USER, or everyone ("PUBLIC"), use the database NAME."""
    grantee = None if user.upper() in {"*", "PUBLIC"} else user

    async def change(sources: DataSources, actor: Actor) -> None:
        act = sources.revoke if revoke else sources.grant
        await act(actor, name, grantee)

    word = "source.revoke" if revoke else "source.grant"
    _act(place, change, did=(word, f"{name} {grantee or 'PUBLIC'}"))
    click.echo(f"{'revoked from' if revoke else 'granted to'} {user.upper()}", err=True)


@source.command("default")
@click.argument("user")
@click.argument("name", required=False)
@place_options
def source_default(user: str, name: str | None, **place: object) -> None:
    """Have USER's runs that name no database read NAME; without it, the server's own tables."""
    _act(
        place,
        lambda sources, actor: sources.set_default(actor, name, user),
        did=("source.default", f"{name or 'EMBEDDED'} {user}"),
    )
    click.echo(f"the default of {user.upper()} is {(name or 'EMBEDDED').upper()}", err=True)


def _kind(url: str) -> str:
    scheme = url.partition(":")[0].lower()
    return {"postgres": "postgresql"}.get(scheme, scheme if scheme in _KINDS else "sqlalchemy")


def _act(
    place: Mapping[str, object],
    act: Callable[[DataSources, Actor], Awaitable[T]],
    did: tuple[str, str] | None = None,
) -> T:
    """Do something as an administrator, which whoever may write the data directory is.

    Args:
        place: which database of ours.
        act: what to do.
        did: action and target for the audit log; None: nothing that is noted.
    """
    from fanfold_server.model.actor import OPERATOR
    from fanfold_server.state import make_sources, note_command, open_state

    async def run() -> T:
        async with open_state(settings) as store:
            done = await act(make_sources(store, settings), OPERATOR)
            if did is not None:
                await note_command(store, *did)
            return done

    with clear_errors():
        settings = settings_of(**place)
        return asyncio.run(run())
