"""`fanfold script …`: store functions, and look after them."""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict
from pathlib import Path

import click

from fanfold.cli.talking import say, talk, with_client, with_json, write_json, write_rows
from fanfold.cli.texts import script_text
from fanfold.client import Client
from fanfold.functions import is_adhoc
from fanfold.records import Script

_POLICIES = click.Choice(["none", "allow-list", "full"])
_TYPES = click.Choice(["user", "all", "global", "grant", "granted"])
_owner = click.option("--owner", help="Whose script.  [default: yours, else the global one]")
_global = click.option("--global", "is_global", is_flag=True, help="The script for everyone.")


@click.group()
def script() -> None:
    """Store functions, look at them, and share them."""


@script.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="The script's name.  [default: the file's, without .py]")
@click.option("--description", help="What listings say about it.")
@click.option("--no-overwrite", is_flag=True, help="Refuse if there is one of this name.")
@_global
@with_json
@with_client
def push(
    client: Client,
    *,
    file: Path,
    name: str | None,
    description: str | None,
    no_overwrite: bool,
    is_global: bool,
    as_json: bool,
) -> None:
    """Store the function in FILE; a new text makes a new version."""
    stored = client.scripts.publish(
        script_text(file) + "\n",
        name or file.stem,
        description=description,
        is_global=is_global,
        overwrite=not no_overwrite,
    )
    if as_json:
        write_json(_members(stored))
    else:
        talk(f"{stored.owner}.{stored.name}: version {stored.version}, runs {stored.entry}()")


@script.command("list")
@click.option("--type", "kind", type=_TYPES, default="user", show_default=True)
@click.option("--adhoc", is_flag=True, help="Also texts that were sent with a run.")
@with_json
@with_client
def list_(client: Client, *, kind: str, adhoc: bool, as_json: bool) -> None:
    """List scripts: yours, or others that you may use."""
    found = [s for s in client.scripts.list(kind) if adhoc or not is_adhoc(s.name)]
    if as_json:
        write_json([_members(entry) for entry in found])
        return
    write_rows(
        ("name", "owner", "version", "created", "description"),
        ((s.name, s.owner, s.version, s.created, s.description) for s in found),
    )


@script.command()
@click.argument("name")
@_owner
@click.option("--version", type=click.IntRange(1), help="[default: the current one]")
@with_json
@with_client
def show(
    client: Client, *, name: str, owner: str | None, version: int | None, as_json: bool
) -> None:
    """Write the text of NAME."""
    found = client.scripts.load(name, owner, version)
    if as_json:
        write_json(_members(found))
    else:
        click.echo(found.source, nl=not found.source.endswith("\n"))


@script.command()
@click.argument("name")
@_owner
@with_json
@with_client
def versions(client: Client, *, name: str, owner: str | None, as_json: bool) -> None:
    """List the versions of NAME, the newest first."""
    found = client.scripts.versions(name, owner)
    if as_json:
        write_json([_members(entry) for entry in found])
        return
    write_rows(
        ("version", "created", "digest", "description"),
        ((s.version, s.created, s.digest[:12], s.description) for s in found),
    )


@script.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True))
@_owner
@click.option("--from", "older", type=click.IntRange(1), help="A version.  [default: current]")
@click.option("--to", "newer", type=click.IntRange(1), help="Another, instead of FILE.")
@with_json
@with_client
def diff(
    client: Client,
    *,
    name: str,
    file: Path | None,
    owner: str | None,
    older: int | None,
    newer: int | None,
    as_json: bool,
) -> None:
    """Compare NAME with FILE, or two of its versions; ends with 1 where they differ.

    Without FILE and --to, the version before the current one is compared with it.
    """
    if file is not None:
        after, label = script_text(file), str(file)
    else:
        new = client.scripts.load(name, owner, newer)
        after, label = new.source, f"{name} version {new.version}"
        older = older if older is not None else max(new.version - 1, 1)
    old = client.scripts.load(name, owner, older)
    lines = difflib.unified_diff(
        old.source.rstrip("\n").splitlines(),
        after.rstrip("\n").splitlines(),
        f"{name} version {old.version}",
        label,
        lineterm="",
    )
    differing = list(lines)
    if as_json:
        write_json({"differs": bool(differing), "diff": differing})
    for line in () if as_json else differing:
        click.echo(line)
    if differing:
        sys.exit(1)


@script.command()
@click.argument("name")
@_global
@with_json
@with_client
def drop(client: Client, *, name: str, is_global: bool, as_json: bool) -> None:
    """Delete NAME with its versions and grants."""
    client.scripts.drop(name, is_global)
    say(f"dropped {name}", {"dropped": name}, as_json=as_json)


@script.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@_global
@with_json
@with_client
def rollback(client: Client, *, name: str, version: int, is_global: bool, as_json: bool) -> None:
    """Make VERSION of NAME the current one; the newer ones stay."""
    now = client.scripts.roll_back(name, version, is_global)
    say(f"{name} is version {version} again", _members(now), as_json=as_json)


@script.command()
@click.argument("name")
@click.argument("grantee")
@click.option("--revoke", is_flag=True, help="Take the grant back.")
@with_json
@with_client
def grant(client: Client, *, name: str, grantee: str, revoke: bool, as_json: bool) -> None:
    """Let GRANTEE (an account, or PUBLIC for everyone) run and read NAME."""
    if revoke:
        client.scripts.revoke(name, grantee)
    else:
        client.scripts.grant(name, grantee)
    say(
        f"{grantee.upper()} {'may not run' if revoke else 'may run'} {name}",
        {"name": name, "grantee": grantee.upper(), "granted": not revoke},
        as_json=as_json,
    )


@script.command()
@click.argument("name")
@_owner
@_global
@click.option("--in", "environment", default="default", help="The environment to ask about.")
@click.option("--limit", type=_POLICIES, help="Keep the script to this: yours, or --global.")
@click.option("--grant", "granted", type=_POLICIES, help="Let --owner's script reach this.")
@click.option(
    "--host", "hosts", multiple=True, help="On the allow-list; several times for several."
)
@with_json
@with_client
def network(
    client: Client,
    *,
    name: str,
    owner: str | None,
    is_global: bool,
    environment: str,
    limit: str | None,
    granted: str | None,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what NAME may reach of the network, or decide it.

    The owner may --limit a script; an administrator may --grant it more than its environment has.
    """
    if limit is not None:
        client.scripts.limit_network(name, limit, hosts, is_global)
    if granted is not None:
        if owner is None:
            raise click.UsageError("--grant needs --owner: whose script it is")
        client.scripts.grant_network(name, owner, granted, hosts)
    if granted is not None:
        talk(f"{owner} {name} is granted {granted} {' '.join(hosts)}".rstrip())
        return
    said = client.scripts.network(name, "PYQSYS" if is_global else owner, environment)
    if as_json:
        write_json(said)
        return
    rows = (("in force", said["effective"]), ("granted", said["grant"]), ("limit", said["limit"]))
    write_rows(
        ("what", "policy", "hosts"),
        ((what, each["policy"], " ".join(each["hosts"])) for what, each in rows if each),
    )


def _members(script: Script) -> dict[str, object]:
    return {name: value for name, value in asdict(script).items() if value not in (None, "")}
