"""`fanfold table …`: load tables into a server and look after them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from fanfold.cli.talking import say, talk, with_client, with_json, write_json, write_rows
from fanfold.client import Client
from fanfold.uploads import FORMS

_global = click.option("--global", "is_global", is_flag=True, help="The one for everyone.")


@click.group()
@click.option("--url", help="The server's address.  [FANFOLD_URL, else the profile's]")
@click.option("--token", help="A token of that server.  [FANFOLD_TOKEN, else the profile's]")
@click.pass_context
def table(ctx: click.Context, url: str | None, token: str | None) -> None:
    """Load, list, show, drop and share tables."""
    ctx.meta.update({"fanfold.url": url, "fanfold.token": token})


@table.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="The table's name.  [default: the file's]")
@click.option(
    "--format",
    "form",
    metavar="FORM",
    type=click.Choice(sorted(set(FORMS.values()))),
    help="csv, parquet, ndjson or arrow, where the file's ending does not say it.",
)
@click.option(
    "--charset", help="Of text, such as windows-1252.  [default: UTF-8, or its byte order mark's]"
)
@click.option("--global", "is_global", is_flag=True, help="For everyone; administrators only.")
@with_json
@with_client
def load(
    client: Client,
    *,
    file: Path,
    name: str | None,
    form: str | None,
    charset: str | None,
    is_global: bool,
    as_json: bool,
) -> None:
    """Load FILE as a table, in place of one of that name."""
    if form is None and file.suffix.lower() not in FORMS:
        raise click.BadParameter(
            f"say --format: {file.suffix!r} does not tell it", param_hint="FILE"
        )
    made = client.tables.load(file, name, form=form, charset=charset, is_global=is_global)
    if as_json:
        write_json(asdict(made))
    else:
        talk(f"{made.owner}.{made.name}: {made.rows} rows")


@table.command("list")
@with_json
@with_client
def list_(client: Client, *, as_json: bool) -> None:
    """List the tables that you may read."""
    tables = client.tables.list()
    if as_json:
        write_json([asdict(found) for found in tables])
        return
    write_rows(
        ("table", "rows", "columns"),
        (
            (f"{t.owner}.{t.name}", t.rows, ", ".join(column["name"] for column in t.columns))
            for t in tables
        ),
    )


@table.command()
@click.argument("name")
@click.option("--owner", help="Whose table.")
@click.option("--rows", type=click.IntRange(0, 1000), default=10, show_default=True)
@with_json
@with_client
def preview(client: Client, *, name: str, owner: str | None, rows: int, as_json: bool) -> None:
    """Show the first rows of NAME, one JSON object a line; with --json a list of them."""
    found = client.tables.preview(name, owner, rows, frames=False)
    for row in [found] if as_json else found:
        write_json(row)


@table.command()
@click.argument("name")
@_global
@with_json
@with_client
def drop(client: Client, *, name: str, is_global: bool, as_json: bool) -> None:
    """Delete NAME and its grants."""
    client.tables.drop(name, is_global)
    say(f"dropped {name}", {"dropped": name}, as_json=as_json)


@table.command()
@click.argument("name")
@click.argument("grantee")
@click.option("--revoke", is_flag=True, help="Take the grant back.")
@with_json
@with_client
def grant(client: Client, *, name: str, grantee: str, revoke: bool, as_json: bool) -> None:
    """Let GRANTEE (an account, or PUBLIC for everyone) read NAME."""
    if revoke:
        client.tables.revoke(name, grantee)
    else:
        client.tables.grant(name, grantee)
    say(
        f"{grantee.upper()} {'may not read' if revoke else 'may read'} {name}",
        {"name": name, "grantee": grantee.upper(), "granted": not revoke},
        as_json=as_json,
    )
