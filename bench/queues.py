"""Task queues with durable jobs (W7), each with workers, a client and what it keeps them in."""

from __future__ import annotations

import json
import os
import select
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from bench.machine import SERVERS, Process, free_port, program
from bench.peers import Peer

GROUP = "queues"
ANSWER_S = 150
SERVICE_S = 20
POSTGRES_USER = "nobody"
"""PostgreSQL does not run as root."""


class Queue(Peer):
    """A queue: its services, its workers and a client, in processes of their own."""

    kind = "queue, no HTTP"
    workloads = ("W7",)
    settle_s = 0.5
    peer: ClassVar[str]

    @override
    def start(self) -> None:
        self.processes: list[Process] = []
        self.url = self.service()
        variables = {"W7_PEER": self.peer, "W7_URL": self.url, "PYTHONPATH": str(SERVERS)}
        self._variables = variables
        self.prepare()
        for number, command in enumerate(self.workers()):
            self._begin(command, f"worker-{number}", variables)
        driver = [program("python", GROUP), str(SERVERS / "queue_driver.py")]
        self._driver = self._begin(driver, "driver", variables, talks=True)
        self._answer()
        self.jobs(8)

    def service(self) -> str:
        """Start what the queue keeps its jobs in; return its address."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make its tables."""

    def workers(self) -> list[list[str]]:
        """Return the commands of its workers; none: the client runs the jobs."""
        return []

    def _begin(
        self, command: list[str], what: str, variables: dict[str, str], *, talks: bool = False
    ) -> Process:
        name = f"{self.name}-{what}"
        made = Process(command, name=name, scratch=self.scratch, variables=variables, talks=talks)
        self.processes.append(made)
        return made

    @override
    def jobs(self, count: int) -> tuple[float, list[float]]:
        self._driver.stdin.write(b"%d\n" % count)
        self._driver.stdin.flush()
        answer = self._answer()
        return answer["seconds"], answer["submits"]

    def _answer(self) -> dict[str, Any]:
        if not select.select([self._driver.stdout], [], [], ANSWER_S)[0]:
            raise TimeoutError(self.name)
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self._driver.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    @contextmanager
    @override
    def awake(self) -> Iterator[None]:
        for process in self.processes:
            process.resume()
        try:
            time.sleep(self.settle_s)
            self.jobs(8)
            yield
        finally:
            self.rest()

    @override
    def rest(self) -> None:
        for process in self.processes:
            process.pause()

    @override
    def end(self) -> None:
        for process in reversed(getattr(self, "processes", [])):
            process.end()

    # ------------------------------------------------------------------ services

    def redis(self, fsync: str) -> str:
        server = shutil.which("redis-server")
        if server is None:
            raise RuntimeError("it needs redis-server (Debian, Ubuntu: apt install redis-server)")
        port = free_port()
        folder = self.scratch / f"{self.name}-redis"
        folder.mkdir()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._begin([*command, "--appendonly", "yes", "--appendfsync", fsync, "--save", ""],
                    "redis", {})  # fmt: skip
        time.sleep(0.5)
        return f"redis://127.0.0.1:{port}/0"

    def postgres(self) -> str:
        folder, port = self.scratch / f"{self.name}-pg", free_port()
        folder.mkdir()
        as_other: list[str] = []
        if os.getuid() == 0:
            shutil.chown(folder, POSTGRES_USER)
            group = "nogroup"
            as_other = ["setpriv", "--reuid", POSTGRES_USER, "--regid", group, "--clear-groups"]
        making = [postgres_program("initdb"), "-D", str(folder), "-A", "trust", "-U", "bench"]
        subprocess.run([*as_other, *making], check=True, capture_output=True, cwd="/")
        serving = [postgres_program("postgres"), "-D", str(folder), "-p", str(port)]
        self._begin([*as_other, *serving, "-h", "127.0.0.1", "-k", str(folder)], "postgres", {})
        asking = [postgres_program("pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        until = time.monotonic() + SERVICE_S
        while subprocess.run(asking, capture_output=True, check=False).returncode:
            if time.monotonic() > until:
                raise RuntimeError("PostgreSQL does not answer")
            time.sleep(0.1)
        return f"postgresql://bench@127.0.0.1:{port}/postgres"


def postgres_program(name: str) -> str:
    """Find a program of the PostgreSQL server, where distributions put it."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise RuntimeError("it needs PostgreSQL (Debian, Ubuntu: apt install postgresql)")
    return path


class Celery(Queue):
    name = "celery-redis-always"
    peer = "celery"
    fsync: ClassVar[str] = "always"

    @override
    def service(self) -> str:
        return self.redis(self.fsync)

    @override
    def workers(self) -> list[list[str]]:
        options = ["-P", "prefork", "-c", "2", "--loglevel=ERROR"]
        quiet = ["--without-gossip", "--without-mingle"]
        celery = [program("celery", GROUP), "-A", "queue_tasks", "worker"]
        return [[*celery, *options, *quiet]]


class CeleryEverysec(Celery):
    name = "celery-redis-everysec"
    fsync = "everysec"


class Rq(Queue):
    name = "rq-redis-everysec"
    peer = "rq"
    fsync: ClassVar[str] = "everysec"
    worker_class: ClassVar[tuple[str, ...]] = ()

    @override
    def service(self) -> str:
        return self.redis(self.fsync)

    @override
    def workers(self) -> list[list[str]]:
        return [[program("rq", GROUP), "worker", "--url", self.url, *self.worker_class]] * 2


class RqSimple(Rq):
    name = "rq-simple-redis-everysec"
    worker_class = ("-w", "rq.worker.SimpleWorker")


class Saq(Queue):
    name = "saq-redis-always"
    peer = "saq"
    fsync: ClassVar[str] = "always"

    @override
    def service(self) -> str:
        return self.redis(self.fsync)

    @override
    def workers(self) -> list[list[str]]:
        return [[program("saq", GROUP), "queue_tasks.settings"]]


class SaqEverysec(Saq):
    name = "saq-redis-everysec"
    fsync = "everysec"


class Huey(Queue):
    name = "huey-sqlite-fsync"
    peer = "huey"

    @override
    def service(self) -> str:
        return str(self.scratch / "huey.db")

    @override
    def workers(self) -> list[list[str]]:
        options = ["-w", "2", "-k", "process", "-d", "0.01", "-m", "0.05", "-q"]
        return [[program("huey_consumer", GROUP), "queue_tasks.app", *options]]


class DbosSqlite(Queue):
    name = "dbos-sqlite"
    peer = "dbos"

    @override
    def service(self) -> str:
        return f"sqlite:///{self.scratch / 'dbos.db'}"


class DbosPostgres(DbosSqlite):
    name = "dbos-postgres"

    @override
    def service(self) -> str:
        return self.postgres()


class Procrastinate(Queue):
    name = "procrastinate-postgres"
    peer = "procrastinate"

    @override
    def service(self) -> str:
        return self.postgres()

    @override
    def prepare(self) -> None:
        command = [program("procrastinate", GROUP), "--app=queue_tasks.app", "schema", "--apply"]
        variables = {**os.environ, **self._variables}
        subprocess.run(command, env=variables, check=True, capture_output=True)

    @override
    def workers(self) -> list[list[str]]:
        command = [program("procrastinate", GROUP), "--app=queue_tasks.app", "worker"]
        return [[*command, "--concurrency", "10"]]


class SqliteFull(Peer):
    """A commit to disk for each submission and one for each result, and nothing else."""

    name = "limit:sqlite-full"
    kind = "limit"
    workloads = ("W7",)

    @override
    def start(self) -> None:
        self._database = sqlite3.connect(self.scratch / "limit.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = wal")
        self._database.execute("PRAGMA synchronous = full")
        self._database.execute("CREATE TABLE job (id TEXT PRIMARY KEY, state TEXT, result TEXT)")
        self._made = 0

    @contextmanager
    @override
    def awake(self) -> Iterator[None]:
        yield

    @override
    def jobs(self, count: int) -> tuple[float, list[float]]:
        ids = [f"{number:036d}" for number in range(self._made, self._made + count)]
        self._made += count
        began = time.perf_counter()
        times = []
        for one in ids:
            before = time.perf_counter()
            self._commit("INSERT INTO job VALUES (?, 'queued', NULL)", one)
            times.append(time.perf_counter() - before)
        for one in ids:
            self._commit("UPDATE job SET state = 'succeeded', result = '1' WHERE id = ?", one)
        return time.perf_counter() - began, times

    def _commit(self, statement: str, one: str) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(statement, (one,))
        self._database.execute("COMMIT")

    @override
    def end(self) -> None:
        self._database.close()


QUEUES: tuple[type[Peer], ...] = (
    SqliteFull, Celery, CeleryEverysec, Rq, RqSimple, Saq, SaqEverysec, Huey, DbosSqlite,
    DbosPostgres, Procrastinate,
)  # fmt: skip
