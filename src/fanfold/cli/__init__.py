"""The shell command `fanfold`: a group whose commands come from entry points.

The caller's verbs are modules of this package. Commands of other packages (the server's: serve,
user, …) are listed under "fanfold.commands"; each entry point names a list of click commands. All
are loaded when one is looked for, not before.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import click

from fanfold import __version__

if TYPE_CHECKING:
    from typing_extensions import override
else:  # in `typing` from 3.12 on; a caller's environment need not have the other

    def override(method):
        """Mark nothing: only the type checker reads it."""
        return method


GROUP = "fanfold.commands"
_OLDEST_OF_SERVER = (3, 11)
_SERVER_COMMANDS = frozenset(
    {
        "access-token",
        "agent",
        "audit",
        "demo",
        "doctor",
        "env",
        "migrate",
        "serve",
        "source",
        "user",
    }
)
_SERVER_NEEDS = ("fastapi", "pydantic_settings", "sqlalchemy", "structlog", "uvicorn")
"""What tells the server that is installed from its files, which every wheel has."""
_OWN = {
    "completion": "completion:completion",
    "job": "jobs:job",
    "login": "login:login",
    "logout": "login:logout",
    "new": "new:new",
    "run": "running:run",
    "script": "scripts:script",
    "table": "tables:table",
    "token": "login:token_",
}
"""The caller's own commands, each with its module and its name there."""
_GC_THRESHOLD = 20_000
"""Loading modules makes what stays: a fifth of a start went into looking for garbage there."""
_HOW_TO_INSTALL = "pip install 'fanfold[server]'"


class Commands(click.Group):
    """A group that finds its commands in the installed packages."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_OWN, *self._load()[0]})

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OWN:
            module, _, name = _OWN[cmd_name].partition(":")
            found_here = getattr(importlib.import_module(f"fanfold.cli.{module}"), name)
            assert isinstance(found_here, click.Command), "the table names commands"
            return found_here
        found, missing = self._load()
        if cmd_name in found:
            return found[cmd_name]
        if missing is not None and cmd_name in _SERVER_COMMANDS:
            ctx.fail(f"'{cmd_name}' needs the server ({missing}): {_HOW_TO_INSTALL}")
        return None

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        missing = self._load()[1]
        if missing is not None:
            with formatter.section("The server is not installed"):
                formatter.write_text(f"{_HOW_TO_INSTALL}  ({missing})")
        super().format_epilog(ctx, formatter)

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what the client raises becomes a line and an exit status."""
        from fanfold.faults import FanfoldError

        gc.set_threshold(_GC_THRESHOLD)
        try:
            return super().invoke(ctx)
        except FanfoldError as exc:
            from fanfold.cli.talking import Failure

            raise Failure(exc, as_json=bool(ctx.meta.get("fanfold.json"))) from exc
        except ModuleNotFoundError as exc:
            if ctx.invoked_subcommand in _OWN or (exc.name or "").startswith("fanfold"):
                raise
            raise click.ClickException(
                f"'{ctx.invoked_subcommand}' needs the server (there is no module {exc.name}): "
                f"{_HOW_TO_INSTALL}"
            ) from exc
        except KeyboardInterrupt:
            from fanfold.cli.talking import Status

            ctx.exit(int(Status.INTERRUPTED))

    def _load(self) -> tuple[dict[str, click.Command], str | None]:
        """Load what there is; and say what was missing for the rest, if anything was."""
        found: dict[str, click.Command] = {}
        missing = None
        for entry in sorted(entry_points(group=GROUP), key=_name):
            try:
                commands = entry.load()
            except ModuleNotFoundError as exc:
                missing = f"there is no module {exc.name}"
                continue
            except ImportError as exc:
                if sys.version_info >= _OLDEST_OF_SERVER:
                    raise
                missing = f"it runs on Python 3.11 or newer, and not on this one: {exc}"
                continue
            lacking = next((name for name in _SERVER_NEEDS if not _is_there(name)), None)
            if lacking is not None and entry.value.startswith("fanfold_server."):
                missing = f"there is no module {lacking}"
                continue
            found.update((command.name, command) for command in commands)
        return found, missing


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _name(entry: EntryPoint) -> str:
    return entry.name


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="fanfold", message="%(prog)s %(version)s")
def main() -> None:
    """Store Python functions and run them over REST."""
