"""The operator's commands: serve, agent and migrate here, all others in `verbs/`.

`fanfold` finds them by the entry point "fanfold.commands". Whatever is heavy is imported inside the
command that needs it, so that listing the commands stays quick.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from fanfold_server.demo.command import demo
from fanfold_server.doctor import doctor
from fanfold_server.verbs.audit import audit
from fanfold_server.verbs.environments import env
from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.place import place_options, settings_of
from fanfold_server.verbs.sources import source
from fanfold_server.verbs.tokens import token
from fanfold_server.verbs.users import user

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from fanfold_server.http.front import ASGIApp
    from fanfold_server.http.guarding import Guard
    from fanfold_server.settings import Settings

GRACE_S = 5
"""How long requests may go on when the server is told to stop."""

_BACKLOG = 2048
_OTHER_FILES = 768
"""Descriptors that are kept for workers, databases and files."""
_GC_THRESHOLD = 20_000


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
    if isinstance(default, tuple):  # of several times none is lost in silence
        join = partial(_joined, os.pathsep if metavar == "PATH" else ",")
        return click.Option([flag], metavar=metavar, help=text, multiple=True, callback=join)
    return click.Option([flag], metavar=metavar, help=text)


def _joined(
    separator: str, _ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> str | None:
    return separator.join(given) if given else None


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
        settings = settings_of(**given)
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
        settings = settings_of(**given)
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


# ------------------------------------------------------------------------------------ the database


@click.command()
@place_options
def migrate(**place: object) -> None:
    """Bring the database up to date. A server does this by itself when it starts."""
    from fanfold_server.state import migrate_store

    with clear_errors():
        settings = settings_of(**place)
        migrate_store(settings)
    embedded = settings.database is None
    click.echo(f"{settings.database_file if embedded else 'the database'} is up to date", err=True)


commands: list[click.Command] = [
    *(serve, agent, user, token, audit, env, source, migrate, doctor, demo)
]
