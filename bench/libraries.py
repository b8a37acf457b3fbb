"""Peers that are libraries, and the limits: no server, timed inside a process of their own."""

from __future__ import annotations

import json
import select
from typing import Any, ClassVar

from typing_extensions import override

from bench.machine import ROOT, Process, program
from bench.peers import Peer


class Library(Peer):
    """A library in a process of its own; timed in there, dump to JSON included, HTTP not."""

    kind = "library, no HTTP"
    workloads = ("W2", "W3", "W4", "W5", "W6")
    group: ClassVar[str] = "base"

    @override
    def start(self) -> None:
        self.process = Process(
            [program("python", self.group), "-m", "bench.servers.libraries", self.name],
            name=self.name,
            scratch=self.scratch,
            cwd=ROOT,
            variables={"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            talks=True,
        )
        self._answer()

    @override
    def fan(self, function: str, calls: int, degree: int) -> tuple[float, list[Any] | None]:
        answer = self._ask({"function": function, "calls": calls, "degree": degree})
        return float(answer["seconds"]), None

    @override
    def rows(self, by: int | None) -> tuple[float, int]:
        answer = self._ask({"by": by})
        return float(answer["seconds"]), int(answer["calls"])

    @override
    def frame(self) -> tuple[float, int]:
        answer = self._ask({"frame": True})
        return float(answer["seconds"]), int(answer["bytes"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process is not None
        stdout = self.process.stdout
        if not select.select([stdout], [], [], 150)[0]:
            raise TimeoutError(self.name)
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self.process.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer


class Loop(Library):
    name = "limit:loop"
    kind = "limit, one process"
    honours_degree = False
    workloads = (*Library.workloads, "W9")


class ForkSplit(Library):
    name = "limit:fork-split"
    kind = "limit, P forks a run"
    workloads = ("W2", "W3", "W4", "W5")


class MpPool(Library):
    name = "mp-pool"


class Ppe(Library):
    name = "ppe"


class Loky(Library):
    name = "joblib-loky"


class DuckPandas(Library):
    """A table in DuckDB, grouped or cut by it, and pandas for the function; one process."""

    name = "duckdb-pandas"
    kind = "library, no HTTP, one process"
    honours_degree = False
    workloads = ("W6",)
