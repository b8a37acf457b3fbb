"""A real `fanfold serve`, started as an operator starts it, and clients that speak HTTP to it.

`server` with `alice`, `bob` and `admin` is shared by all acceptance tests of a process, which
therefore use names of scripts of their own. A test that wants other settings, or wants to stop the
server, starts one with `start_server`. A file whose tests share a server of their own overrides
`server`; `root` and `frida` are accounts there.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx2
import pytest

from fanfold_server.model.actor import Role
from fanfold_server.service.access import Access
from fanfold_server.service.passwords import Passwords
from fanfold_server.service.tokens import AccessTokens
from fanfold_server.state import note_command
from fanfold_server.store.sql import open_store, sqlite_url
from tests.fakes.packages import write_wheel
from tests.folders import reachable_folder

FANFOLD = Path(sys.executable).with_name("fanfold")
ENGINE = Path(__file__).parents[2] / ".environments" / "default"
"""The environment that `make setup` makes for runs: numpy, pandas, matplotlib, …"""

PASSWORD = "correct horse battery"
READY = b"fanfold is ready at "
START_LIMIT_S = 180
STOP_LIMIT_S = 60
ANSWER_LIMIT_S = 200


class Caller(httpx2.Client):
    """An HTTP client that is logged in; paths are relative to the server."""

    def __init__(self, url: str, name: str, token: str) -> None:
        super().__init__(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_LIMIT_S,
        )
        self.name = name
        self.token = token

    def store(self, name: str, source: str, **members: object) -> dict[str, object]:
        """Store a script, over an older one if there is one; gives what the server answers."""
        body = {"source": source, "overwrite": True, **members}
        answer = self.put(f"/api/v1/scripts/{name}", json=body)
        assert answer.status_code in {200, 201}, answer.text
        stored: dict[str, object] = answer.json()
        return stored

    def index_apply(self, script: str, body: Mapping[str, object]) -> httpx2.Response:
        return self.post(f"/oml/api/py-scripts/v1/index-apply/{script}", json=dict(body))

    def do_eval(self, script: str, body: Mapping[str, object] | None = None) -> httpx2.Response:
        return self.post(f"/oml/api/py-scripts/v1/do-eval/{script}", json=dict(body or {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs. `log` is the file with what it wrote to stderr.

    Attributes:
        shared: a directory that functions may write to.
    """

    url: str
    shared: Path
    data: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self) -> httpx2.Client:
        """Give a client without a token."""
        return httpx2.Client(base_url=self.url, timeout=ANSWER_LIMIT_S)

    def add_user(self, name: str, role: str = "developer") -> None:
        arguments = ("user", "add", name, "--role", role, "--password-stdin")
        run_fanfold(*arguments, "--data", str(self.data), stdin=PASSWORD + "\n")

    def token(self, name: str) -> str:
        """Log an account in."""
        body = {"grant_type": "password", "username": name, "password": PASSWORD}
        with self.client() as client:
            answer = client.post("/omlusers/api/oauth2/v1/token", json=body)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["accessToken"]
        return token

    def caller(self, name: str) -> Caller:
        """Give a client that is logged in; the caller of this closes it."""
        return Caller(self.url, name, self.token(name))


def run_fanfold(
    *arguments: str,
    stdin: str = "",
    is_expected_to_fail: bool = False,
    limit_s: float = START_LIMIT_S,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run an operator's command to its end."""
    done = subprocess.run(
        [FANFOLD, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=limit_s,
        env=_environment(variables or {}),
        check=False,
    )
    assert (done.returncode != 0) is is_expected_to_fail, done.stderr
    return done


StartServer = Callable[..., Server]


@contextmanager
def serving(
    folder: Path,
    *options: str,
    users: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server on a free port with a data directory below `folder`, and stop it again.

    Args:
        folder: a directory of the test's own.
        options: of `fanfold serve`, such as "--workers", "2".
        users: name → role; added before the start.
        variables: environment variables on top of this process's own.
    """
    data, log = folder / "data", folder / "server.log"
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("wb"))
        if users:
            data.mkdir(mode=0o700, exist_ok=True)
            for file in _with_accounts(tuple(users.items())).iterdir():
                shutil.copy2(file, data)
        shared = Path(tempfile.mkdtemp(prefix="shared-"))
        stack.callback(shutil.rmtree, shared)
        shared.chmod(0o777)
        given = ("--port", "0", "--data", str(data), "--worker-writes", str(shared))
        process = subprocess.Popen(
            [FANFOLD, "serve", *given, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment({"FANFOLD_DEFAULT_ENVIRONMENT": str(ENGINE), **(variables or {})}),
            cwd=folder,
        )
        stack.callback(_stop, process)
        url = _wait_until_ready(process, log)
        yield Server(url=url, shared=shared, data=data, log=log, process=process)


@cache
def _with_accounts(users: tuple[tuple[str, str], ...]) -> Path:
    """Make a data directory with these accounts, once a process.

    As `fanfold user add` does, of which the tests of the command line take care; here, because a
    process for each account of each file took as long as many of the tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="accounts-"))
    atexit.register(shutil.rmtree, folder)
    # In a thread: the test that asks may have an event loop of its own.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _add_accounts(folder / "fanfold.db", users)).result()
    return folder


async def _add_accounts(database: Path, users: tuple[tuple[str, str], ...]) -> None:
    async with open_store(sqlite_url(database)) as store:
        access = Access(
            store.accounts,
            store.sessions,
            Passwords(concurrency=1),
            AccessTokens(store.tokens, max_days=1),
            token_lifetime_s=60,
            session_lifetime_s=60,
        )
        for name, role in users:
            await access.add_user(name, PASSWORD, Role(role))
            await note_command(store, "user.add", name)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with settings of the test's own: see `serving` for the arguments."""
    with ExitStack() as stack:
        count = 0

        def start(
            *options: str,
            users: Mapping[str, str] | None = None,
            variables: Mapping[str, str] | None = None,
        ) -> Server:
            nonlocal count
            count += 1
            folder = tmp_path / f"server-{count}"
            folder.mkdir()
            return stack.enter_context(serving(folder, *options, users=users, variables=variables))

        yield start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shared server, with the default settings."""
    users = {"alice": "developer", "bob": "developer", "admin": "admin"}
    with serving(tmp_path_factory.mktemp("server"), users=users) as running:
        yield running


@pytest.fixture(scope="session")
def alice(server: Server) -> Iterator[Caller]:
    with server.caller("alice") as caller:
        yield caller


@pytest.fixture(scope="session")
def bob(server: Server) -> Iterator[Caller]:
    with server.caller("bob") as caller:
        yield caller


@pytest.fixture(scope="session")
def admin(server: Server) -> Iterator[Caller]:
    with server.caller("admin") as caller:
        yield caller


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the user ids of workers can reach, unlike pytest's own."""
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def wheels(place: Path) -> Path:
    """What environments are built of: "labcolors", old and new, and "palette", which needs it."""
    folder = place / "wheels"
    for version in ("1.0", "2.0"):
        write_wheel(folder, "labcolors", version, f"VERSION = {version!r}\n")
    write_wheel(folder, "palette", "0.1", "import labcolors\n", requires=["labcolors"])
    return folder


@pytest.fixture(scope="module")
def root(server: Server) -> Iterator[Caller]:
    """An administrator of a file's own server, if it has added one of this name."""
    with server.caller("root") as caller:
        yield caller


@pytest.fixture(scope="module")
def frida(server: Server) -> Iterator[Caller]:
    """A developer there, likewise."""
    with server.caller("frida") as caller:
        yield caller


@pytest.fixture(scope="session")
def nobody(server: Server) -> Iterator[httpx2.Client]:
    """A client without a token."""
    with server.client() as client:
        yield client


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Take this process's variables without settings that the person who tests may have."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")}
    return {**own, **variables}


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Read the server's first line, which says its address."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_LIMIT_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            line = process.stdout.readline()
            if line.startswith(READY):
                return line.removeprefix(READY).decode().strip()
            if not line:
                break
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server; killed only when it does not end by itself."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)
    if process.stdout is not None:
        process.stdout.close()
