"""A PostgreSQL for tests: started here, in a folder of its own, heard on a Unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

START_S = 60
"""How long a server may take to answer; the machine may be busy."""


class NoPostgres(Exception):
    """This machine has no PostgreSQL that tests can start; the message says what would help."""


class Postgres:
    """A server. `start` and `kill` may follow one another."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg", "fanfold", database="postgres",
            query={"host": str(self._folder)},
        )  # fmt: skip

    def make(self) -> None:
        """Make the server's files."""
        self._folder.chmod(0o700)
        if _unprivileged():
            os.chown(self._folder, *_ids())
        run = [
            program("initdb"), "--pgdata", str(self._folder / "data"), "--username", "fanfold",
            "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C",
        ]  # fmt: skip
        subprocess.run(run, check=True, capture_output=True, cwd="/", **_unprivileged())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "on" if self._durable else "off",
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", str(self._folder / "data"), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **_unprivileged(),
            )  # fmt: skip
        give_up = time.monotonic() + START_S
        while True:
            try:
                self._run("SELECT 1")
                return
            except OperationalError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def kill(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT at once and in order, SIGQUIT as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def make_database(self) -> URL:
        """Make an empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run(f"CREATE DATABASE {name}")
        return self.url.set(database=name)

    def drop_database(self, url: URL) -> None:
        self._run(f"DROP DATABASE {url.database} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()


@contextmanager
def started(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server, and remove it with its files.

    Raises:
        NoPostgres: see there.
    """
    program("initdb")
    # A socket's path is short, and another user has to get there.
    with tempfile.TemporaryDirectory(prefix="fanfold-pg-", dir="/tmp") as folder:
        server = Postgres(Path(folder), durable=durable)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def started_or_skipped(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server for a test, which is skipped where there can be none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(started(durable=durable))
        except NoPostgres as exc:
            pytest.skip(str(exc))
        yield server


def program(name: str) -> str:
    """Find a program of PostgreSQL's."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in [*folders, None]:
        found = shutil.which(name, path=None if folder is None else str(folder))
        if found is not None:
            return str(Path(found).resolve())
    raise NoPostgres(
        f'there is no "{name}" on this machine, so that nothing is tested over PostgreSQL '
        "(Debian, Ubuntu: `apt install postgresql`; macOS: `brew install postgresql`)"
    )


def _version(folder: Path) -> list[int]:
    return [int(part) for part in folder.parent.name.split(".") if part.isdigit()]


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    if os.geteuid() != 0:
        return {}
    user, group = _ids()
    return {"user": user, "group": group, "extra_groups": []}


def _ids() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
