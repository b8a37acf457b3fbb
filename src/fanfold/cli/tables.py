"""`fanfold table …`: load tables into a server and look after them, over its REST API."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, TextIO

import click

FORMS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
}
TIMEOUT_S = 3600
_READ_BYTES = 1 << 20


class Server:
    """A server and the token with which it is spoken to."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + "/api/v1/tables"
        self._token = token

    def ask(
        self,
        method: str,
        path: str = "",
        *,
        query: dict[str, str] | None = None,
        body: BufferedReader | None = None,
        size_bytes: int = 0,
    ) -> Any:
        """Send a request; give the JSON of the answer, None if it has none.

        Raises:
            ClickException: the server refuses, or cannot be reached.
        """
        url = self._url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers |= {
                "Content-Length": str(size_bytes),
                "Content-Type": "application/octet-stream",
            }
        if not url.startswith(("http://", "https://")):
            raise click.ClickException(f"{url} is no address of a server")
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310  # checked
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # checked
                text = answer.read()
        except urllib.error.HTTPError as exc:
            raise click.ClickException(_message(exc)) from exc
        except OSError as exc:
            raise click.ClickException(f"cannot reach {self._url}: {exc}") from exc
        return json.loads(text) if text else None


@click.group()
@click.option("--url", envvar="FANFOLD_URL", required=True, help="The server's address.")
@click.option("--token", envvar="FANFOLD_TOKEN", required=True, help="A token of that server.")
@click.pass_context
def table(ctx: click.Context, url: str, token: str) -> None:
    """Load, list, show, drop and share tables."""
    ctx.obj = Server(url, token)


@table.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="The table's name.  [default: the file's]")
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(set(FORMS.values()))),
    help="[default: by the file's ending]",
)
@click.option("--global", "is_global", is_flag=True, help="For everyone; administrators only.")
@click.pass_obj
def load(server: Server, file: Path, name: str | None, form: str | None, is_global: bool) -> None:
    """Load FILE as a table, in place of one of that name."""
    form = form or FORMS.get(file.suffix.lower())
    if form is None:
        raise click.BadParameter(
            f"say --format: {file.suffix!r} does not tell it", param_hint="FILE"
        )
    query = {"format": form, **({"global": "true"} if is_global else {})}
    size_bytes = file.stat().st_size
    with (
        file.open("rb") as source,
        click.progressbar(length=size_bytes, label=f"sending {file.name}", file=_stderr()) as bar,
    ):
        body = _Counted(source, bar.update)
        made = server.ask(
            "PUT",
            "/" + _quoted(name or file.stem),
            query=query,
            body=body,  # type: ignore[arg-type]  # all that urllib wants of it is `read`
            size_bytes=size_bytes,
        )
    click.echo(f"{made['owner']}.{made['name']}: {made['rows']} rows", err=True)


@table.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.pass_obj
def list_(server: Server, as_json: bool) -> None:
    """List the tables that you may read."""
    tables = server.ask("GET")["tables"]
    if as_json:
        click.echo(json.dumps(tables))
        return
    for found in tables:
        columns = ", ".join(column["name"] for column in found["columns"])
        click.echo(f"{found['owner']}.{found['name']}\t{found['rows']}\t{columns}")


@table.command()
@click.argument("name")
@click.option("--owner", help="Whose table.")
@click.option("--rows", type=click.IntRange(0, 1000), default=10, show_default=True)
@click.pass_obj
def preview(server: Server, name: str, owner: str | None, rows: int) -> None:
    """Show the first rows of NAME, one JSON object a line."""
    query = {"rows": str(rows), **({"owner": owner} if owner else {})}
    for row in server.ask("GET", f"/{_quoted(name)}/preview", query=query):
        click.echo(json.dumps(row, ensure_ascii=False))


@table.command()
@click.argument("name")
@click.option("--global", "is_global", is_flag=True, help="The one for everyone.")
@click.pass_obj
def drop(server: Server, name: str, is_global: bool) -> None:
    """Delete NAME and its grants."""
    server.ask("DELETE", "/" + _quoted(name), query={"global": "true"} if is_global else None)
    click.echo(f"dropped {name}", err=True)


@table.command()
@click.argument("name")
@click.argument("grantee")
@click.option("--revoke", is_flag=True, help="Take the grant back.")
@click.pass_obj
def grant(server: Server, name: str, grantee: str, revoke: bool) -> None:
    """Let GRANTEE (an account, or PUBLIC for everyone) read NAME."""
    path = f"/{_quoted(name)}/grants/{_quoted(grantee)}"
    server.ask("DELETE" if revoke else "PUT", path)
    verb = "may not read" if revoke else "may read"
    click.echo(f"{grantee.upper()} {verb} {name}", err=True)


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, source: BufferedReader, tell: Callable[[int], None]) -> None:
        self._source = source
        self._tell = tell

    def read(self, size: int = _READ_BYTES) -> bytes:
        """Read a part."""
        part = self._source.read(size)
        self._tell(len(part))
        return part


def _stderr() -> TextIO:
    return sys.stderr


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _message(exc: urllib.error.HTTPError) -> str:
    """Take the server's own words out of an answer."""
    try:
        return str(json.loads(exc.read())["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {exc.code} {exc.reason}"
