"""What every verb shares: which server, how results are written, how failures end.

Results go to standard output, talk to standard error. The exit statuses are in `Status`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import IO, Any

import click

from fanfold import errors
from fanfold.client import Client
from fanfold.faults import (
    Detached,
    FanfoldError,
    JobCancelled,
    NotLoggedIn,
    NotUnderstood,
    Unreachable,
)

Verb = Callable[..., Any]
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")


class Status(IntEnum):
    """What a verb's exit status says."""

    DONE = 0
    """All went well; also of a job that was left to go on."""
    FAILED = 1
    """The function failed, or the job ended badly."""
    USAGE = 2
    """The command line is wrong."""
    REFUSED = 3
    """The server refuses the request as it stands."""
    DENIED = 4
    """You are not logged in, or may not do this."""
    UNREACHABLE = 5
    """The server cannot be reached, is busy, or has failed; try again later."""
    INTERRUPTED = 130
    """Ctrl-C."""


_DENIED = (errors.Unauthenticated, errors.Forbidden, errors.TooManyAttempts, NotLoggedIn)
_HINTS: dict[type[FanfoldError], str] = {
    errors.Unauthenticated: "Log in again: fanfold login",
    NotLoggedIn: "",
    Unreachable: "Is the server running, and is its address right? fanfold login URL sets it.",
    errors.UnknownScript: "What there is: fanfold script list --type all",
    errors.UnknownTable: "What there is: fanfold table list",
    errors.TableExists: "To write it anew: --overwrite.",
    errors.UnknownJob: "What there is: fanfold job list",
    errors.ScriptExists: "To store a new version, leave out --no-overwrite.",
    errors.RunTimedOut: "Run it as a job: add --follow, or --async.",
    errors.QuotaExceeded: "What takes the room: fanfold job list; fanfold job delete ID",
    errors.EnvironmentLacks: "Name another with --env, or have the package added to this one.",
    errors.JobRunning: "To wait for it: fanfold job watch ID",
    errors.NoAccounts: "On the server: fanfold user add NAME",
}


class Failure(click.ClickException):
    """An error of the client's, as a command line ends with it."""

    def __init__(self, exc: FanfoldError, *, as_json: bool) -> None:
        super().__init__(exc.message)
        self._exc = exc
        self._as_json = as_json
        vars(self)["exit_code"] = int(status_of(exc))

    def show(self, file: IO[Any] | None = None) -> None:
        """Say what went wrong, where, and what to do next."""
        out = sys.stderr if file is None else file
        if self._as_json:
            code = self._exc.details.get("code", self._exc.code)
            members = {"errorMessage": self._exc.message, "errorCode": code}
            click.echo(json.dumps({**members, **_others(self._exc)}), file=out)
            return
        if self._exc.traceback:
            click.echo(self._exc.traceback.rstrip("\n"), file=out)
        index = self._exc.details.get("index")
        where = f" (call {index})" if index is not None else ""
        prefix = "" if isinstance(self._exc, Detached) else "Error: "
        click.echo(f"{prefix}{self._exc.message}{where}", file=out)
        hint = next((text for kind, text in _HINTS.items() if isinstance(self._exc, kind)), "")
        if hint:
            click.echo(hint, file=out)


def status_of(exc: FanfoldError) -> Status:
    """Say with which status a command ends that this has ended."""
    match exc:
        case Detached():
            return Status.DONE
        case JobCancelled():
            return Status.INTERRUPTED
        case errors.CallFailed():
            return Status.FAILED
        case _ if isinstance(exc, _DENIED):
            return Status.DENIED
        case Unreachable() | NotUnderstood() | errors.ServerError() | errors.NoAccounts():
            return Status.UNREACHABLE
        case _:
            return Status.REFUSED


def with_client(command: Verb) -> Verb:
    """Let a command be told which server; its first argument is the client."""

    @click.option("--url", help="The server's address.  [FANFOLD_URL, else the profile's]")
    @click.option("--token", help="A token of that server.  [FANFOLD_TOKEN, else the profile's]")
    @click.option("--profile", help="The login to use.  [FANFOLD_PROFILE, else default]")
    def told(
        *args: Any, url: str | None, token: str | None, profile: str | None, **kwargs: Any
    ) -> Any:
        with client_for(url, token, profile) as client:
            return command(client, *args, **kwargs)

    return _like(command, told)


def client_for(
    url: str | None, token: str | None, profile: str | None, *, progress: bool | None = None
) -> Client:
    """Make the client of a command; what its group was told counts where it was told nothing."""
    context = click.get_current_context(silent=True)
    told = context.meta if context is not None else {}
    return Client(
        url or told.get("fanfold.url"),
        token=token or told.get("fanfold.token"),
        profile=profile,
        progress=progress,
    )


def with_json(command: Verb) -> Verb:
    """Let a command be asked for JSON; it gets `as_json`."""

    @click.option("--json", "as_json", is_flag=True, help="Write JSON, also of an error.")
    def told(*args: Any, as_json: bool, **kwargs: Any) -> Any:
        click.get_current_context().meta["fanfold.json"] = as_json
        return command(*args, as_json=as_json, **kwargs)

    return _like(command, told)


def talk(text: str) -> None:
    """Say something to a person, past the results."""
    click.echo(text, err=True)


def say(text: str, members: Mapping[str, object], *, as_json: bool) -> None:
    """Say what was done: to a person past the results, or as JSON, which then is the result."""
    if as_json:
        write_json(members)
    else:
        talk(text)


def write_json(value: object) -> None:
    """Write a result as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def write_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: with lines and headings for a person, else by tabs and nothing else."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(_cell(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for at, column in enumerate(columns):
        # What names an entry is copied from here into the next command: it stays in one piece.
        table.add_column(column, overflow="fold", no_wrap=at == 0)
    for row in rows:
        table.add_row(*(_short(_cell(cell)) for cell in row))
    Console().print(table, markup=False)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return " ".join(text.split("\t")).replace("\n", " ")


def _short(cell: str) -> str:
    """Write a moment to the second: 2026-01-31 12:00:00Z."""
    found = _MOMENT.fullmatch(cell)
    return f"{found[1]} {found[2]}Z" if found else cell


def _others(exc: FanfoldError) -> dict[str, object]:
    return {name: value for name, value in exc.details.items() if name != "code"}


def _like(command: Any, told: Any) -> Verb:
    """Carry over what click has noted at a function, its name, and its text."""
    told.__name__ = command.__name__
    told.__doc__ = command.__doc__
    noted = getattr(command, "__click_params__", [])
    told.__click_params__ = [*noted, *getattr(told, "__click_params__", [])]
    made: Verb = told
    return made
