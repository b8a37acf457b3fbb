"""The product: the server of this checkout, started the way an operator would."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import orjson
import psutil
from typing_extensions import override

from bench.client import Connection, Request, wait_until_answered
from bench.functions import sources
from bench.machine import ROOT, Process, free_port
from bench.peers import API, OK, HttpPeer, Peer

ROWS = """
    SELECT (random() * 1000)::BIGINT % 1000 AS k, random() AS x, random() AS y,
        (random() * 100)::BIGINT % 100 AS z
    FROM range(1000000)
"""
"""What W6 is about: a million rows in a thousand groups."""

_FANFOLD = str(ROOT / ".venv" / "bin" / "fanfold")
READY_LIMIT_S = 60
JOBS_LIMIT_S = 300


class Ours(HttpPeer):
    """`fanfold serve`, one account, and the functions stored by PUT.

    With its defaults, but for the length of what a call may return: W9 has 100,000 rows.
    """

    name = "ours"
    workloads = (*Peer.workloads, "W6", "W7", "W7m", "W8", "W9")
    options: ClassVar[tuple[str, ...]] = ("--max-output-len", "100000")

    @override
    def start(self) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="data-", dir=self.scratch))
        self.prepare(self._data)
        self.port = free_port()
        password = secrets.token_urlsafe(12)
        subprocess.run(
            [_FANFOLD, "user", "add", "BENCH", "--role", "developer", "--password-stdin",
             "--data", str(self._data)],
            input=password, text=True, check=True, capture_output=True,
        )  # fmt: skip
        environment = ROOT / ".environments" / "default"
        self.process = Process(
            [_FANFOLD, "serve", "--port", str(self.port), "--data", str(self._data),
             "--default-environment", str(environment),
             "--token-lifetime-s", "28800", *self.options],
            name=self.name,
            scratch=self.scratch,
        )  # fmt: skip
        self.connection = Connection(self.port)
        health = Request(method="GET", path="/health")
        wait_until_answered(self.port, health, good=OK)
        self._wait_until_ready(health)
        self._token = self._login(password)
        for name, source in sources().items():
            self._put(name, source)
        self.deploy()
        self._has_rows = False

    def prepare(self, data: Path) -> None:
        """Put what there has to be into the data directory, before anything looks at it."""

    def _wait_until_ready(self, health: Request) -> None:
        until = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < until:
            _, body = self.connection.ask(health.raw())
            if orjson.loads(body)["ready"]:
                return
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} is not ready after {READY_LIMIT_S} s")

    def _login(self, password: str) -> str:
        asked = {"grant_type": "password", "username": "BENCH", "password": password}
        request = Request(path="/omlusers/api/oauth2/v1/token", body=asked)
        status, body = self.connection.ask(request.raw())
        if status not in OK:
            raise RuntimeError(f"no token: {status} {body!r}")
        return str(orjson.loads(body)["accessToken"])

    def _put(self, name: str, source: str) -> None:
        request = Request(
            method="PUT",
            path=f"/api/v1/scripts/{name}",
            body={"source": source},
            headers=self._authorization,
        )
        status, body = self.connection.ask(request.raw())
        if status not in OK:
            raise RuntimeError(f"{name} was not stored: {status} {body!r}")

    def _load_rows(self) -> None:
        """Load the million rows; made by DuckDB, to the same sizes as the other peers' are."""
        file = self._data / "rows.parquet"
        rows = duckdb.sql(ROWS)
        assert rows is not None  # it is a query
        rows.write_parquet(str(file))
        request = Request(
            method="PUT",
            path="/api/v1/tables/bench",
            content=file.read_bytes(),
            headers=(*self._authorization, ("Content-Type", "application/vnd.apache.parquet")),
        )
        status, body = self.connection.ask(request.raw())
        if status not in OK:
            raise RuntimeError(f"the rows were not loaded: {status} {body!r}")
        self._has_rows = True

    @override
    def rows(self, by: int | None) -> tuple[float, int]:
        if not self._has_rows:
            self._load_rows()
        body: dict[str, Any] = {
            "input": "select * from BENCH",
            "parameters": '{"oml_input_type":"pandas.DataFrame"}',
            "parallelFlag": True,
            "parallel": 2,
        }
        body |= {"groupBy": "k"} if by is None else {"rows": by}
        verb = "group-apply" if by is None else "row-apply"
        raw = Request(path=f"{API}/{verb}/grp", body=body, headers=self._authorization).raw()
        began = time.perf_counter()
        status, answer = self.connection.ask(raw)
        seconds = time.perf_counter() - began
        if status not in OK:
            raise RuntimeError(f"{self.name} answered {status}: {answer[:300]!r}")
        return seconds, len(orjson.loads(answer)["result"])

    @override
    def jobs(self, count: int) -> tuple[float, list[float]]:
        headers = self._authorization
        body = {"times": 1, "asyncFlag": True}
        raw = Request(path=f"{API}/index-apply/sq", body=body, headers=headers).raw()
        times = []
        began = time.perf_counter()
        for _ in range(count):
            before = time.perf_counter()
            self._asked(raw)
            times.append(time.perf_counter() - before)
        self._wait_for_jobs()
        return time.perf_counter() - began, times

    def job_of(self, calls: int) -> float:
        """Run one job of so many trivial calls on two workers; return the seconds to its end."""
        body = {"times": calls, "asyncFlag": True, "parallelFlag": True, "parallel": 2,
                "service": "HIGH"}  # fmt: skip
        request = Request(path=f"{API}/index-apply/sq", body=body, headers=self._authorization)
        began = time.perf_counter()
        self._asked(request.raw())
        self._wait_for_jobs()
        return time.perf_counter() - began

    def _wait_for_jobs(self) -> None:
        """Wait until no job is queued or runs; the newest are the last to end."""
        path = "/api/v1/jobs?state=queued&state=running&limit=1"
        raw = Request(method="GET", path=path, headers=self._authorization).raw()
        until = time.monotonic() + JOBS_LIMIT_S
        while orjson.loads(self._asked(raw))["jobs"]:
            if time.monotonic() > until:
                raise TimeoutError("jobs do not end")
            time.sleep(0.005)
        path = "/api/v1/jobs?state=failed&limit=1"
        raw = Request(method="GET", path=path, headers=self._authorization).raw()
        if orjson.loads(self._asked(raw))["jobs"]:
            raise RuntimeError("a job has failed")

    def _asked(self, raw: bytes) -> bytes:
        status, body = self.connection.ask(raw)
        if status not in OK:
            raise RuntimeError(f"{self.name} answered {status}: {body[:300]!r}")
        return body

    @override
    def role(self, process: psutil.Process) -> str:
        assert self.process is not None
        if process.pid == self.process.pid:
            return "server"
        if "fanfold_server.rows" in " ".join(process.cmdline()):
            return "data"
        return "zygotes" if process.ppid() == self.process.pid else "workers"

    @property
    def _authorization(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self._token}"),)

    @override
    def one(self, function: str, index: int) -> Request:
        if function == "big":
            body = {"parameters": f'{{"i":{index}}}'}
            return Request(path=f"{API}/do-eval/big", body=body, headers=self._authorization)
        return self.many(function, 1, 1)

    @override
    def many(self, function: str, calls: int, degree: int) -> Request:
        body: dict[str, Any] = {"times": calls}
        if degree > 1:
            body |= {"parallelFlag": True, "parallel": degree}
        if function == "fig":
            function = "fig_draw"
            body["graphicsFlag"] = True
        return Request(path=f"{API}/index-apply/{function}", body=body, headers=self._authorization)

    @override
    def values(self, body: bytes) -> list[Any]:
        result = orjson.loads(body)["result"]
        return [image["IMAGE"] for image in result.values()] if isinstance(result, dict) else result

    @override
    def end(self) -> None:
        super().end()
        shutil.rmtree(self._data, ignore_errors=True)


class OursFork(Ours):
    """The same with processes that serve one run each: what another owner's script costs."""

    name = "ours-fork"
    workloads = Peer.workloads
    options = ("--reuse", "fork")


OURS: tuple[type[Peer], ...] = (Ours, OursFork)
