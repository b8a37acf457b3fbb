"""The product: the server of this checkout, started the way an operator would."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import orjson
from typing_extensions import override

from bench.client import Connection, Request, wait_until_answered
from bench.functions import sources
from bench.machine import ROOT, Process, free_port
from bench.peers import API, OK, HttpPeer, Peer

_FANFOLD = str(ROOT / ".venv" / "bin" / "fanfold")
READY_LIMIT_S = 60


class Ours(HttpPeer):
    """`fanfold serve` with its defaults, one account, and the functions stored by PUT."""

    name = "ours"
    options: ClassVar[tuple[str, ...]] = ()

    @override
    def start(self) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="data-", dir=self.scratch))
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

    @property
    def _authorization(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self._token}"),)

    @override
    def one(self, function: str, index: int) -> Request:
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
    options = ("--reuse", "fork")


OURS: tuple[type[Peer], ...] = (Ours, OursFork)
