"""Servers and agents over one data directory that are killed while they work.

Shared by the kill tests: a few rounds in every run of the tests, fifty by `make soak`.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import httpx2
import psutil

from tests.acceptance.conftest import FANFOLD, PASSWORD, READY, run_fanfold
from tests.acceptance.processes import until, zygotes
from tests.family import offspring

LEASE_S = 2
END_LIMIT_S = 120
TRIES_S = 60
FINAL = {"succeeded", "partly_failed", "failed", "cancelled", "timed_out"}

SCRIPTS = {
    "noise": (
        "import random, time\ndef noise(i):\n    time.sleep(0.004)\n    return random.random()\n"
    ),
    "squares": "def squares(i):\n    return i * i\n",
    "thirds": (
        "import time\ndef thirds(i):\n    time.sleep(0.003)\n    print('call', i)\n"
        "    if i % 30 == 7:\n        raise ValueError('no %d' % i)\n    return {'i': i}\n"
    ),
    "long": "def long(i):\n    return 'x' * 4000 + str(i)\n",
    "once": "import time, random\ndef once():\n    time.sleep(0.2)\n    return random.random()\n",
}

Body = dict[str, object]
LOAD: list[tuple[str, Body]] = [
    ("noise", {"times": 120, "parallelFlag": True, "service": "MEDIUM"}),
    ("squares", {"times": 4000, "service": "MEDIUM"}),
    ("thirds", {"times": 150, "onError": "continue", "parallelFlag": True}),
    ("long", {"times": 300}),
    ("once", {}),
]


@dataclass
class Tally:
    """What happened, to be printed."""

    rounds: int = 0
    jobs: int = 0
    calls: int = 0
    kills: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {what}" for what, n in sorted(self.kills.items()))
        return (
            f"{self.rounds} rounds, {self.jobs} jobs, {self.calls} calls; killed: {kills}; lost: 0"
        )


class Part:
    """One process of ours: a server or an agent."""

    def __init__(self, *arguments: str, folder: Path, ready: bytes) -> None:
        self.log = folder / f"{arguments[0]}-{uuid4().hex[:6]}.log"
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [FANFOLD, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "TMPDIR": str(folder / "tmp")},
                cwd=folder,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(ready), f"{line!r}: {self.log.read_text()}"
        self.word = line.removeprefix(ready).decode().strip()

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(120)
        finally:
            self.kill()

    def close(self) -> None:
        self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Cluster:
    """A server without an engine, and agents; any of them may be killed and started again.

    Args:
        folder: of the test's own.
        options: of all commands: "--database", "…".
    """

    def __init__(
        self, folder: Path, *options: str, agents: int = 2, lease_s: int = LEASE_S
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._options = (
            *("--data", str(self.data), "--lease-s", str(lease_s), "--drain-s", "1"),
            *("--workers", "3", "--preload", "", "--no-access-log"),
            *options,
        )
        self._lock = threading.Lock()
        self._seen: set[tuple[int, float]] = set()
        (folder / "tmp").mkdir(exist_ok=True)
        run_fanfold(
            *("user", "add", "alice", "--password-stdin", "--data", str(self.data), *options),
            stdin=PASSWORD + "\n",
        )
        self.server = self._start_server()
        self.agents = [self._start_agent() for _ in range(agents)]
        self.token = self._login()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for part in (*self.agents, self.server):
            with suppress(psutil.NoSuchProcess):
                self._note(part.pid)
            part.stop()

    def _start_server(self) -> Part:
        arguments = ("serve", "--no-agent", "--port", "0", *self._options)
        return Part(*arguments, folder=self.folder, ready=READY)

    def _start_agent(self) -> Part:
        return Part("agent", *self._options, folder=self.folder, ready=b"fanfold agent is ready")

    def _login(self) -> str:
        body = {"grant_type": "password", "username": "alice", "password": PASSWORD}
        answer = httpx2.post(f"{self.server.word}/omlusers/api/oauth2/v1/token", json=body)
        token: str = answer.json()["accessToken"]
        return token

    # ------------------------------------------------------------------ requests

    def request(self, method: str, path: str, **arguments: object) -> httpx2.Response:
        """Send a request until a server answers it; what is sent may arrive several times."""
        until_s = time.monotonic() + TRIES_S
        while True:
            try:
                headers = {"Authorization": f"Bearer {self.token}"}
                headers.update(arguments.pop("headers", {}))  # type: ignore[call-overload]
                arguments["headers"] = dict(headers)
                url = self.server.word + path
                answer = httpx2.request(method, url, timeout=60, **arguments)  # type: ignore[arg-type]
                if answer.status_code < 500:
                    return answer
            except httpx2.TransportError:
                pass
            assert time.monotonic() < until_s, f"{method} {path} was not answered"
            time.sleep(0.05)

    def store_scripts(self) -> None:
        for name, source in SCRIPTS.items():
            answer = self.request("PUT", f"/api/v1/scripts/{name}", json={"source": source})
            assert answer.status_code in {200, 201}, answer.text

    def submit(self, script: str, body: Mapping[str, object]) -> str:
        verb = "index-apply" if "times" in body else "do-eval"
        answer = self.request(
            "POST",
            f"/oml/api/py-scripts/v1/{verb}/{script}",
            json={**body, "asyncFlag": True},
            headers={"Idempotency-Key": uuid4().hex},
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].rsplit("/", 1)[1]

    def job(self, job: str) -> dict[str, object]:
        found: dict[str, object] = self.request("GET", f"/api/v1/jobs/{job}").json()
        return found

    def result(self, job: str) -> bytes:
        """Wait for a job's end, and give its answer."""
        until(lambda: self.job(job)["state"] in FINAL, END_LIMIT_S, f"job {job} ended")
        return self.request("GET", f"/oml/api/py-scripts/v1/jobs/{job}/result").content

    # ------------------------------------------------------------------ faults

    def kill_server(self) -> None:
        self.server.kill()
        self.server = self._start_server()

    def kill_agent(self, number: int) -> None:
        agent = self.agents[number]
        self._note(agent.pid)
        agent.kill()
        self.agents[number] = self._start_agent()

    def kill_zygote(self, pick: random.Random) -> bool:
        return self._kill_one(zygotes, pick)

    def kill_worker(self, pick: random.Random) -> bool:
        def family(agent: int) -> list[psutil.Process]:
            found = psutil.Process(agent).children()
            return [process for child in found for process in offspring(child)]

        return self._kill_one(family, pick)

    def _kill_one(
        self, candidates: Callable[[int], list[psutil.Process]], pick: random.Random
    ) -> bool:
        found = []
        for agent in self.agents:
            with suppress(psutil.NoSuchProcess):
                self._note(agent.pid)
                found += candidates(agent.pid)
        if not found:
            return False
        with suppress(psutil.NoSuchProcess):
            pick.choice(found).kill()
        return True

    def _note(self, pid: int) -> None:
        """Remember what a process has started, to look for it when all is over."""
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                self._seen.add((child.pid, child.create_time()))

    def survivors(self) -> list[psutil.Process]:
        """List processes that were started by ours, and still are there."""
        alive = []
        for pid, born in self._seen:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def left_behind(self) -> list[str]:
        """List what is left of jobs that are deleted, and of scratch folders."""
        left = [str(p) for p in (self.folder / "tmp").iterdir()]
        blobs = self.data / "blobs" / "jobs"
        return left + [str(p) for p in blobs.rglob("*") if p.is_file()]


Fault = Callable[[Cluster, random.Random], bool]


def _server(cluster: Cluster, _: random.Random) -> bool:
    cluster.kill_server()
    return True


def _agent(cluster: Cluster, pick: random.Random) -> bool:
    cluster.kill_agent(pick.randrange(len(cluster.agents)))
    return True


FAULTS: dict[str, Fault] = {
    "servers": _server,
    "agents": _agent,
    "workers": lambda cluster, pick: cluster.kill_worker(pick),
    "zygotes": lambda cluster, pick: cluster.kill_zygote(pick),
}


@contextmanager
def disturbed(
    cluster: Cluster, pick: random.Random, tally: Tally, faults: Mapping[str, Fault]
) -> Iterator[None]:
    """Do every fault once, in random order at random moments, beside what the block does."""
    errors: list[BaseException] = []

    def harm() -> None:
        try:
            for name in pick.sample(sorted(faults), len(faults)):
                time.sleep(pick.uniform(0.05, 0.7))
                tally.kills[name] += faults[name](cluster, pick)
        except BaseException as exc:  # noqa: BLE001  # told by the test that waits
            errors.append(exc)

    thread = threading.Thread(target=harm)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not errors, errors


def run_rounds(cluster: Cluster, *, rounds: int, faults: Mapping[str, Fault], seed: int) -> Tally:
    """Submit a mixed load, kill, wait, compare; and so on. Fails at the first loss."""
    pick, tally = random.Random(seed), Tally()
    cluster.store_scripts()
    calm = [_with_seed(body, n) for n, (_, body) in enumerate(LOAD)]
    names = [name for name, _ in LOAD]
    jobs = [cluster.submit(name, body) for name, body in zip(names, calm, strict=True)]
    expected = [cluster.result(job) for job in jobs]
    for job in jobs:
        cluster.request("DELETE", f"/api/v1/jobs/{job}")
    for _ in range(rounds):
        with disturbed(cluster, pick, tally, faults):
            jobs = []
            for name, body in zip(names, calm, strict=True):
                jobs.append(cluster.submit(name, body))
                time.sleep(pick.uniform(0, 0.3))
        for name, job, want in zip(names, jobs, expected, strict=True):
            got = cluster.result(job)
            assert got == want, (name, cluster.job(job), got[:300], want[:300])
            _check_ledger(cluster, job, tally)
        tally.rounds += 1
        for job in jobs:
            cluster.request("DELETE", f"/api/v1/jobs/{job}")
    return tally


def _with_seed(body: Body, number: int) -> Body:
    return {**body, "seed": 1000 + number}


def _check_ledger(cluster: Cluster, job: str, tally: Tally) -> None:
    """Every index has one outcome, and they agree with the counts."""
    entries: list[dict[str, object]] = []
    start = 0
    while True:
        path = f"/api/v1/jobs/{job}/outcomes?from={start}&limit=1000"
        page = cluster.request("GET", path).json()["outcomes"]
        entries += page
        if len(page) < 1000:
            break
        start = page[-1]["index"] + 1
    indexes = [entry["index"] for entry in entries]
    assert len(set(indexes)) == len(indexes)
    assert not [entry for entry in entries if entry["state"] == "waiting"]
    tally.jobs += 1
    tally.calls += len(entries)


def temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="chaos-"))
