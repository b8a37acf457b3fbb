"""The operator's commands: serve, user, migrate. argv → Settings → compose.

`fanfold` finds them by the entry point "fanfold.commands". Whatever is heavy is imported inside the
command that needs it, so that listing the commands stays quick.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from typing_extensions import override

from fanfold_server.cli_environments import env
from fanfold_server.cli_errors import clear_errors
from fanfold_server.demo.command import demo
from fanfold_server.doctor import doctor
from fanfold_server.verbs.audit import audit
from fanfold_server.verbs.place import json_option, write_line
from fanfold_server.verbs.sources import source
from fanfold_server.verbs.tokens import token

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from fanfold_server.http.front import ASGIApp
    from fanfold_server.http.guarding import Guard
    from fanfold_server.service.access import Access
    from fanfold_server.settings import Settings

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., object])

GRACE_S = 5
"""How long requests may go on when the server is told to stop."""

_BACKLOG = 2048
_OTHER_FILES = 768
"""Descriptors that are kept for workers, databases and files."""
_GC_THRESHOLD = 20_000

_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory of the server's state.  [FANFOLD_DATA]",
)
_database_option = click.option(
    "--database",
    help="Address of a PostgreSQL in place of the file there.  [FANFOLD_DATABASE]",
)


def _place_options(command: C) -> C:
    """Let a command be told which database; it gets what it is told as `**place`."""
    return _data_option(_database_option(command))


# ------------------------------------------------------------------------------------------- serve


class _ServeCommand(click.Command):
    """A command with an option for every setting; they are made only when it is used."""

    @override
    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            self.params = [*setting_options()]
        return super().get_params(ctx)


def setting_options() -> list[click.Option]:
    """Make an option of every setting. What is not given is None, and left to `Settings`."""
    from fanfold_server.settings import Settings

    return [_option(name, field) for name, field in Settings.model_fields.items()]


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = "--" + name.replace("_", "-")
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, bool):
        shown = "on" if default else "off"
    else:
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
    notes = [] if default in (None, (), {}) else [f"default: {shown}"]
    text = f"{field.description}  [{'; '.join([*notes, f'FANFOLD_{name.upper()}'])}]"
    if field.annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    shapes = {"Literal": "WORD", "Path": "PATH", "Mapping": "JSON", "int": "N", "float": "N"}
    kind = str(field.annotation)
    metavar = next((shape for word, shape in shapes.items() if word in kind), "TEXT")
    return click.Option([flag], metavar=metavar, help=text)


@click.command(cls=_ServeCommand)
def serve(**given: object) -> None:
    """Answer requests until told to stop.

    Every option can also be given as the variable in brackets, or in a TOML file (--config, or
    fanfold.toml in the data directory). The command line comes first, then the variables, then
    the file.
    """
    from uvloop import new_event_loop

    from fanfold_server.logs import set_up_logging

    with clear_errors():
        settings = _settings(**given)
        settings.refuse_exposure()
        set_up_logging(settings)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from fanfold_server.compose import open_server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # Before anything is opened: a bad certificate or a port that is taken is told at once.
    tls = _tls_context(settings)
    with _listen(settings.host, settings.port) as listener:
        async with open_server(settings) as server:
            say_ready = partial(_say_ready, settings, listener)
            guard = _guard(settings)
            await _answer(server.app, tls, listener, stop, say_ready=say_ready, guard=guard)


def _guard(settings: Settings) -> Guard:
    from fanfold_server.http.guarding import Guard, Patience

    # Every connection needs a descriptor, and many systems give a process 1024 unless it asks.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _OTHER_FILES
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(16, soft - _OTHER_FILES) if soft != resource.RLIM_INFINITY else wanted
    return Guard(
        Patience(
            connections=min(settings.max_connections, room),
            head_bytes=settings.max_head_kib * 1024,
            head_s=settings.head_timeout_s,
            body_s=settings.body_timeout_s,
        )
    )


@click.command(cls=_ServeCommand)
def agent(**given: object) -> None:
    """Run parts of jobs of the servers on the same database, until told to stop.

    Takes the options of "serve"; those about listening mean nothing to it.
    """
    from uvloop import new_event_loop

    from fanfold_server.logs import set_up_logging

    with clear_errors():
        settings = _settings(**given)
        set_up_logging(settings)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run_agent(settings))


async def _run_agent(settings: Settings) -> None:
    from fanfold_server.compose import open_agent

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_agent(settings):
        print("fanfold agent is ready", flush=True)
        await stop.wait()


async def _answer(
    app: ASGIApp,
    tls: ssl.SSLContext | None,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    say_ready: Callable[[], None],
    guard: Guard,
) -> None:
    from uvicorn import Config, Server

    from fanfold_server.http.guarding import GuardedProtocol

    config = Config(
        app,
        http=partial(GuardedProtocol, guard=guard),  # type: ignore[arg-type]  # called, no more
        ws="none",
        lifespan="off",  # compose opens and closes everything
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )

    class OurServer(Server):
        """Leaves signals alone: uvicorn raises them again, which would end us half closed."""

        @override
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        @override
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say_ready()

    server = OurServer(config)

    async def end_when_told() -> None:
        await stop.wait()
        server.should_exit = True

    watches = [asyncio.create_task(end_when_told()), asyncio.create_task(guard.watch())]
    # What is here now stays: the collector need not look at it again, nor after every 700 objects.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        await server.serve(sockets=[listener])
    finally:
        for watch in watches:
            watch.cancel()


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    from fanfold_server.settings import SettingsError

    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as exc:  # also when a file is no PEM, or the two do not belong together
        raise SettingsError(
            f"tls_certificate, tls_key: cannot use {settings.tls_certificate} with "
            f"{settings.tls_key}: {exc.strerror or exc}"
        ) from exc
    return context


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
    listener.setblocking(False)
    return listener


def _say_ready(settings: Settings, listener: socket.socket) -> None:
    scheme = "https" if settings.tls else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"fanfold is ready at {scheme}://{host}:{listener.getsockname()[1]}", flush=True)


# ------------------------------------------------------------------------------------------- users


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
@_place_options
@_password_option
def user_add(name: str, role: str, password_stdin: bool, **place: object) -> None:
    """Add the account NAME."""
    from fanfold_server.model.actor import Role

    password = _read_password(from_stdin=password_stdin)
    _with_access(
        place,
        lambda access: access.add_user(name, password, Role(role)),
        did=("user.add", name),
        makes=True,
    )
    click.echo(f"added {name.upper()} as {role}", err=True)


@user.command("list")
@json_option
@_place_options
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
@_place_options
def user_disable(name: str, **place: object) -> None:
    """Keep NAME from logging in, and end its sessions."""
    _with_access(place, lambda access: access.disable(name), did=("user.disable", name))
    click.echo(f"disabled {name.upper()}", err=True)


@user.command("enable")
@_name_argument
@_place_options
def user_enable(name: str, **place: object) -> None:
    """Let NAME log in again."""
    _with_access(place, lambda access: access.enable(name), did=("user.enable", name))
    click.echo(f"enabled {name.upper()}", err=True)


@user.command("set-password")
@_name_argument
@_place_options
@_password_option
def user_set_password(name: str, password_stdin: bool, **place: object) -> None:
    """Give NAME another password, and end its sessions."""
    password = _read_password(from_stdin=password_stdin)
    _with_access(
        place, lambda access: access.set_password(name, password), did=("user.set-password", name)
    )
    click.echo(f"changed the password of {name.upper()}", err=True)


def _read_password(*, from_stdin: bool) -> str:
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        line = sys.stdin.buffer.readline().decode("utf-8")
    except UnicodeDecodeError as exc:
        raise click.ClickException("the password on standard input is not UTF-8") from exc
    return line.removesuffix("\n").removesuffix("\r")


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
        settings = _settings(**place)
        return asyncio.run(run())


# ------------------------------------------------------------------------------------ the database


@click.command()
@_place_options
def migrate(**place: object) -> None:
    """Bring the database up to date. A server does this by itself when it starts."""
    from fanfold_server.state import migrate_store

    with clear_errors():
        settings = _settings(**place)
        migrate_store(settings)
    embedded = settings.database is None
    click.echo(f"{settings.database_file if embedded else 'the database'} is up to date", err=True)


# -------------------------------------------------------------------------------------------------


def _settings(**given: object) -> Settings:
    from fanfold_server.settings import load_settings

    return load_settings({name: value for name, value in given.items() if value is not None})


commands: list[click.Command] = [
    *(serve, agent, user, token, audit, env, source, migrate, doctor, demo)
]
