"""W8: what the first call in an environment costs, and what ten that are warm take.

A server of its own each time: what has been called once is warm.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import orjson
from typing_extensions import override

from bench.client import Request
from bench.machine import ROOT
from bench.ours import Ours
from bench.peers import API

COLD, PRELOADED = 5, 5
"""Of the ten environments, so many are called without a word before, and so many are preloaded."""

_WARM_LIMIT_S = 60
_STILL_S = 1.5
_STILL_MIB = 1.0
_PRELOAD = "/oml/api/py-scripts/v2/preload/conda"


class OursWithEnvironments(Ours):
    """`fanfold serve` with ten names for the environment of the engine.

    Each has processes of its own. Files are shared among them, as they are among environments that
    uv or py-rattler has made of the same packages: both link them from one cache.
    """

    name = "ours-environments"
    options: ClassVar[tuple[str, ...]] = ("--max-user-preloads", str(PRELOADED))

    @override
    def prepare(self, data: Path) -> None:
        folder = data / "environments"
        folder.mkdir(parents=True)
        for name in self.names:
            (folder / name).symlink_to(ROOT / ".environments" / "default")

    @property
    def names(self) -> list[str]:
        return [f"lab{number}" for number in range(COLD + PRELOADED)]

    def first(self, environment: str | None) -> float:
        """Call a trivial function in an environment; return the seconds that it took."""
        body = {"times": 1} | ({} if environment is None else {"envName": environment})
        raw = Request(path=f"{API}/index-apply/sq", body=body, headers=self._authorization).raw()
        began = time.perf_counter()
        self._asked(raw)
        return time.perf_counter() - began

    def preload(self, environment: str) -> None:
        """Preload an environment, and wait until a worker of it waits for its first call."""
        health = Request(method="GET", path="/health").raw()
        wanted = orjson.loads(self._asked(health))["workers"] + 1
        body = {"envName": environment}
        self._asked(Request(path=_PRELOAD, body=body, headers=self._authorization).raw())
        until = time.monotonic() + _WARM_LIMIT_S
        while True:
            now = orjson.loads(self._asked(health))
            if now["workers"] == wanted and not now["busy"]:
                return
            if time.monotonic() > until:
                raise TimeoutError(f"{environment} does not get warm")
            time.sleep(0.02)

    def taken_mib(self) -> float:
        """Return what interpreters and workers take, each page counted once among them.

        Waits until that changes no more: one that is kept ready for the next owner still starts.
        """
        assert self.process is not None
        taken = -1.0
        until = time.monotonic() + _WARM_LIMIT_S
        while time.monotonic() < until:
            time.sleep(_STILL_S)
            found = self.process.memory(self.role)
            now = found.get("zygotes", 0.0) + found.get("workers", 0.0)
            if abs(now - taken) < _STILL_MIB:
                return now
            taken = now
        raise TimeoutError("the memory of its processes does not come to rest")


def measure_environments(peer: Ours) -> Iterator[tuple[str, float]]:
    """Measure a fresh server, and yield (metric, value).

    The peer itself is ended meanwhile: it would share pages, and take its part of them.
    """
    peer.end()
    server = OursWithEnvironments(peer.scratch)
    server.start()
    try:
        yield "default_first_ms", server.first(None) * 1e3
        yield "default_again_ms", statistics.median(server.first(None) for _ in range(20)) * 1e3
        before = server.taken_mib()
        cold, preloaded = server.names[:COLD], server.names[COLD:]
        yield "cold_first_ms", statistics.median(server.first(name) for name in cold) * 1e3
        yield "cold_again_ms", statistics.median(server.first(name) for name in cold) * 1e3
        for name in preloaded:
            server.preload(name)
        times = [server.first(name) for name in preloaded]
        yield "preloaded_first_ms", statistics.median(times) * 1e3
        yield "default_mib", before
        yield "ten_more_mib", server.taken_mib() - before
    finally:
        server.end()
        peer.start()
