"""Peers of `--all`: slow ones, larger installations, and our own design probe."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from typing_extensions import override

from bench.client import Request
from bench.libraries import Library
from bench.machine import ROOT, SERVERS, program
from bench.peers import API, Afternoon, HttpPeer, Peer, uvicorn


class Dask(Library):
    name = "dask"
    group = "cluster"
    settle_s = 1.0
    most_calls = 10_000

    @override
    def warm(self) -> None:
        for _ in range(3):
            self.fan("sq", 20, 2)


class RayTasks(Dask):
    name = "ray-tasks"


class RayServe(HttpPeer):
    name = "ray-serve"
    settle_s = 1.0
    workloads = ("W1",)  # its fan is a task per index, as ray-tasks

    @override
    def command(self) -> list[str]:
        python = program("python", "cluster")
        return [python, str(SERVERS / "ray_serve_app.py"), str(self.port)]

    @override
    def one(self, function: str, index: int) -> Request:
        return Request(path="/", body={"i": index})

    @override
    def warm(self) -> None:
        raw = self.one("sq", 7).raw()
        for _ in range(30):
            self.connection.ask(raw)


class KernelGateway(HttpPeer):
    name = "jupyter-kernel-gateway"
    kind = "HTTP, one kernel"
    honours_degree = False
    workloads = ("W1", "W2")

    @override
    def command(self) -> list[str]:
        notebook = self.scratch / f"gateway-{self.port}.ipynb"
        making = [program("python", "gateway"), "-m", "bench.servers.gateway_notebook"]
        subprocess.run([*making, str(notebook)], cwd=ROOT, check=True)
        options = {
            "api": "kernel_gateway.notebook_http",
            "seed_uri": str(notebook),
            "port": str(self.port),
            "log_level": "ERROR",
        }
        words = [f"--KernelGatewayApp.{name}={value}" for name, value in options.items()]
        return [program("jupyter", "gateway"), "kernelgateway", *words]

    @override
    def one(self, function: str, index: int) -> Request:
        return Request(path="/one", body={"fn": function, "i": index})

    @override
    def many(self, function: str, calls: int, degree: int) -> Request:
        return Request(path="/fan", body={"fn": function, "n": calls})


class Bento(HttpPeer):
    name = "bentoml"
    workloads = ("W1",)

    @override
    def command(self) -> list[str]:
        serve = [program("bentoml", "bento"), "serve", "bento_service:Square"]
        return [*serve, "--working-dir", str(SERVERS), "--host", "127.0.0.1",
                "--port", str(self.port)]  # fmt: skip

    @override
    def variables(self) -> dict[str, str]:
        return {"BENTOML_DO_NOT_TRACK": "True"}

    @override
    def one(self, function: str, index: int) -> Request:
        return Request(path="/one", body={"i": index})

    @override
    def values(self, body: bytes) -> list[Any]:
        return [json.loads(body)]


class Proto(HttpPeer):
    """The design's probe, not the product: warm workers behind ASGI, and nothing else."""

    name = "proto"
    kind = "HTTP, design probe without sandbox, users, logs"

    @override
    def command(self) -> list[str]:
        return uvicorn("proto:app", self.port)

    @override
    def variables(self) -> dict[str, str]:
        worker = [program("python", "base"), str(SERVERS / "proto_worker.py")]
        return {"PROTO_WORKER": " ".join(worker), "PYTHONPATH": str(ROOT)}

    @override
    def one(self, function: str, index: int) -> Request:
        return self.many(function, 1, 1)

    @override
    def many(self, function: str, calls: int, degree: int) -> Request:
        body: dict[str, Any] = {"times": calls}
        if degree > 1:
            body |= {"parallelFlag": True, "parallel": degree}
        token = (("Authorization", "Bearer t0ken"),)
        return Request(path=f"{API}/index-apply/{function}", body=body, headers=token)


OPTIONAL: tuple[type[Peer], ...] = (
    Afternoon, Proto, RayTasks, Dask, RayServe, KernelGateway, Bento,
)  # fmt: skip
