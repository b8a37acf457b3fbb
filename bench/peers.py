"""Who is measured: how each is started, and how each is asked for the same work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psutil
from typing_extensions import override

from bench.client import Connection, Request, wait_until_answered
from bench.machine import ROOT, SERVERS, Process, free_port, program

API = "/oml/api/py-scripts/v1"
OK = range(200, 300)


class Peer:
    """One program that runs functions, started once and paused while others are measured.

    Attributes:
        name: in tables; limits of the machine begin with `limit:`.
        kind: for the table's reader.
        honours_degree: whether P means anything to it.
        settle_s: what it needs after a pause before it may be measured.
        most_calls: larger fans take it minutes.
        workloads: what it can be asked.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = ""
    honours_degree: ClassVar[bool] = True
    settle_s: ClassVar[float] = 0.15
    most_calls: ClassVar[int] = 1 << 60
    workloads: ClassVar[tuple[str, ...]] = ("W1", "W2", "W3", "W4", "W5")

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.process: Process | None = None

    def start(self) -> None:
        raise NotImplementedError

    def fan(self, function: str, calls: int, degree: int) -> tuple[float, list[Any] | None]:
        """Run `function` for the indexes 1 … calls.

        Returns:
            Seconds until all of it was there as JSON, and the values where they can be had.
        """
        raise NotImplementedError

    def rows(self, by: int | None) -> tuple[float, int]:
        """Run `grp` for each group of a million rows, or for each `by` of them.

        Returns:
            Seconds until all of it was there as JSON, the rows being loaded before; and the calls.
        """
        raise NotImplementedError

    def frame(self) -> tuple[float, int]:
        """Run `big` once, and return the seconds and the length of its rows as JSON, in bytes."""
        raise NotImplementedError

    def role(self, process: psutil.Process) -> str:
        """Name one of its processes, for a table of memory."""
        assert self.process is not None
        return "main" if process.pid == self.process.pid else "workers"

    def jobs(self, count: int) -> tuple[float, list[float]]:
        """Submit trivial jobs one by one, each durable when it is accepted.

        Returns:
            Seconds until all were done, and what each submission took.
        """
        raise NotImplementedError

    def warm(self) -> None:
        """Make the first measured call as good as the next, after a pause."""

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run for a while."""
        assert self.process is not None
        self.process.resume()
        try:
            time.sleep(self.settle_s)
            self.warm()
            yield
        finally:
            self.rest()

    def rest(self) -> None:
        if self.process is not None:
            self.process.pause()

    def end(self) -> None:
        if self.process is not None:
            self.process.end()
        self.process = None


class HttpPeer(Peer):
    """A server on a port of its own."""

    kind = "HTTP"
    port: int
    connection: Connection

    def command(self) -> list[str]:
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        return {}

    @override
    def start(self) -> None:
        self.port = free_port()
        self.process = Process(
            self.command(), name=self.name, scratch=self.scratch, variables=self.variables()
        )
        self.connection = Connection(self.port)
        self.deploy()

    def deploy(self) -> None:
        """Wait until it answers, and give it the functions."""
        wait_until_answered(self.port, self.one("sq", 7), good=OK)

    def one(self, function: str, index: int) -> Request:
        """Return the request for one call."""
        raise NotImplementedError

    def many(self, function: str, calls: int, degree: int) -> Request:
        """Return the request for the indexes 1 … calls."""
        raise NotImplementedError

    def values(self, body: bytes) -> list[Any]:
        result: list[Any] = json.loads(body)["result"]
        return result

    @override
    def fan(self, function: str, calls: int, degree: int) -> tuple[float, list[Any] | None]:
        raw = self.many(function, calls, degree).raw()
        began = time.perf_counter()
        status, body = self.connection.ask(raw)
        seconds = time.perf_counter() - began
        if status not in OK:
            raise RuntimeError(f"{self.name} answered {status}: {body[:300]!r}")
        return seconds, self.values(body)

    @override
    def frame(self) -> tuple[float, int]:
        raw = self.one("big", 1).raw()
        began = time.perf_counter()
        status, body = self.connection.ask(raw)
        seconds = time.perf_counter() - began
        if status not in OK:
            raise RuntimeError(f"{self.name} answered {status}: {body[:300]!r}")
        return seconds, len(body)

    @override
    def rest(self) -> None:
        # A keep-alive connection does not always survive a long stop (see README.md).
        self.connection.close()
        super().rest()


def uvicorn(app: str, port: int) -> list[str]:
    """Return the command that serves one of our servers/ the way our product is served."""
    place = ["--app-dir", str(SERVERS), "--port", str(port)]
    options = ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
    return [str(ROOT / ".venv" / "bin" / "uvicorn"), app, *place, *options, "--no-access-log"]


class Echo(HttpPeer):
    kind = "limit"
    workloads = ("W1",)

    @override
    def one(self, function: str, index: int) -> Request:
        return Request(path=f"{API}/index-apply/{function}", body={"times": 1})


class UvicornEcho(Echo):
    """What the HTTP layer alone costs: our server's own uvicorn with a constant answer."""

    name = "limit:uvicorn-echo"

    @override
    def command(self) -> list[str]:
        return uvicorn("echo:app", self.port)


class SocketEcho(Echo):
    """What TCP and an event loop alone cost."""

    name = "limit:asyncio-socket"

    @override
    def command(self) -> list[str]:
        python = str(ROOT / ".venv" / "bin" / "python")
        return [python, str(SERVERS / "echo.py"), str(self.port)]


_TABPY = """[TabPy]
TABPY_PORT={port}
TABPY_QUERY_OBJECT_PATH={state}/query_objects
TABPY_STATE_PATH={state}
TABPY_EVALUATE_TIMEOUT=600
TABPY_MAX_REQUEST_SIZE_MB=200
TABPY_LOG_DETAILS=false
[loggers]
keys=root
[handlers]
keys=root
[formatters]
keys=root
[logger_root]
level=WARNING
handlers=root
[handler_root]
class=StreamHandler
level=WARNING
formatter=root
args=(sys.stdout,)
[formatter_root]
format=%(message)s
"""


class TabPy(HttpPeer):
    """Runs deployed functions in its own process: no isolation, one core."""

    name = "tabpy"
    kind = "HTTP, in its own process"
    honours_degree = False
    workloads = (*Peer.workloads, "W9")

    @override
    def command(self) -> list[str]:
        state = self.scratch / f"tabpy-{self.port}"
        (state / "query_objects").mkdir(parents=True)
        config = state / "tabpy.conf"
        config.write_text(_TABPY.format(port=self.port, state=state))
        return [program("tabpy", "tabpy"), f"--config={config}", "--disable-auth-warning"]

    @override
    def deploy(self) -> None:
        wait_until_answered(self.port, Request(method="GET", path="/info"), good=OK)
        deploying = Process(
            [program("python", "tabpy"), "-m", "bench.servers.tabpy_deploy", str(self.port)],
            name="tabpy-deploy",
            scratch=self.scratch,
            cwd=ROOT,
        )
        try:
            deploying.wait(60)
        finally:
            deploying.end()
        for request in (self.one("sq", 7), self.many("sq", 7, 1)):
            wait_until_answered(self.port, request, good=OK)

    @override
    def one(self, function: str, index: int) -> Request:
        return Request(path="/query/one", body={"data": {"fn": function, "i": index}})

    @override
    def many(self, function: str, calls: int, degree: int) -> Request:
        return Request(path="/query/fan", body={"data": {"fn": function, "n": calls}})

    @override
    def values(self, body: bytes) -> list[Any]:
        response = json.loads(body)["response"]
        return response if isinstance(response, list) else [response]


class AfternoonTuned(HttpPeer):
    """FastAPI and a process pool, with chunks and orjson: what one writes in an afternoon."""

    name = "afternoon-tuned"
    workloads = (*Peer.workloads, "W9")
    mode: ClassVar[str] = "tuned"

    @override
    def command(self) -> list[str]:
        return [program("python", "base"), str(SERVERS / "afternoon.py"), str(self.port)]

    @override
    def variables(self) -> dict[str, str]:
        return {"AFTERNOON_MODE": self.mode}

    @override
    def one(self, function: str, index: int) -> Request:
        return self.many(function, 1, 1)

    @override
    def many(self, function: str, calls: int, degree: int) -> Request:
        body: dict[str, Any] = {"times": calls}
        if degree > 1:
            body |= {"parallelFlag": True, "parallel": degree}
        return Request(path=f"{API}/index-apply/{function}", body=body)


class Afternoon(AfternoonTuned):
    """The same with a future for each index."""

    name = "afternoon"
    mode = "naive"
    most_calls = 10_000
