"""Many clients at once while workers are killed: every answer is right, and nothing leaks."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fanfold_server.engine import bubble
from tests.acceptance.conftest import Caller, Server, StartServer, serving
from tests.acceptance.processes import descriptors, promised, until, workers, zygotes
from tests.calm import Stopwatch
from tests.family import WRAPPERS
from tests.folders import reachable_folder

CLIENTS = 16
REQUESTS = 2_000
KILLS = REQUESTS // 100
SETTLED_WITHIN_S = 60.0
SEED = 20_261_123
MAX_DATABASE_FILES = 3 * 20
"""Three files a connection (SQLite's WAL), and a pool of connections."""

SCRIPTS = {
    "itself": "def itself(i=0):\n    return i\n",
    "naps": "def naps(i, ms):\n    import time\n    time.sleep(ms / 1000)\n    return [i, ms]\n",
    "leaves_files": (
        "def leaves_files(n):\n    import os, tempfile\n"
        "    held = [tempfile.mkstemp() for _ in range(3)]\n"
        "    if n % 2:\n        for descriptor, _ in held:\n            os.close(descriptor)\n"
        "    open('here', 'w').close()\n    print('x' * 5000)\n    return n + len(held)\n"
    ),
    "fails": "def fails(n):\n    raise ValueError(n)\n",
}


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[Server]:
    users = {"gus": "developer", "hal": "developer"}
    variables = {"TMPDIR": str(temporary)}
    with serving(tmp_path_factory.mktemp("load"), users=users, variables=variables) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(server: Server) -> dict[str, str]:
    with server.caller("gus") as gus, server.caller("hal") as hal:
        for name, source in SCRIPTS.items():
            gus.store(name, source)
        assert gus.put("/api/v1/scripts/naps/grants/hal").is_success
        return {"gus": gus.token, "hal": hal.token}


Request = tuple[str, str, dict[str, object], object]
"""Who, path, body, and the right answer: a value, or an exception's message."""


def _requests(count: int, chance: random.Random) -> list[Request]:
    """Draw requests: mostly short ones, some with many calls, some of another's script."""
    drawn: list[Request] = []
    for number in range(count):
        n = chance.randrange(1000)
        parameters: dict[str, object] = {"parameters": json.dumps({"n": n})}
        naps: dict[str, object] = {"parameters": json.dumps({"ms": n % 7})}
        right = [[i, n % 7] for i in range(1, 6)]
        kinds: tuple[Request, ...] = (
            ("gus", "do-eval/itself", {}, 0),
            ("gus", "index-apply/itself", {"times": n + 1}, list(range(1, n + 2))),
            ("gus", "index-apply/naps", {"times": 5, "parallel": 2, **naps}, right),
            ("gus", "do-eval/fails", parameters, f"ValueError: {n}"),
            ("gus", "do-eval/leaves_files", parameters, n + 3),
            ("hal", "index-apply/naps/gus", {"times": 5, **naps}, right),
        )
        drawn.append(kinds[(0, 0, 0, 0, 1, 1, 2, 2, 3, 4)[number % 10] if number % 40 else 5])
    chance.shuffle(drawn)
    return drawn


def _send(server: Server, tokens: dict[str, str], requests: list[Request]) -> Counter[str]:
    """Send all requests by `CLIENTS` clients; give how many were right, lost, or wrong."""
    pending = iter(requests)
    lock = threading.Lock()
    verdicts: Counter[str] = Counter()

    def client() -> None:
        with (
            Caller(server.url, "gus", tokens["gus"]) as gus,
            Caller(server.url, "hal", tokens["hal"]) as hal,
        ):
            while True:
                with lock:
                    request = next(pending, None)
                if request is None:
                    return
                who, path, body, right = request
                caller = gus if who == "gus" else hal
                answer = caller.post(f"/oml/api/py-scripts/v1/{path}", json=body)
                verdict = _judge(answer.status_code, answer.json(), right)
                with lock:
                    verdicts[verdict] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    return verdicts


def _judge(status: int, said: dict[str, object], right: object) -> str:
    if status == 200 and said == {"result": right}:
        return "right"
    if status == 400 and said["errorCode"] == 3001 and said["errorMessage"] == right:
        return "right"
    if status == 400 and said["errorCode"] == 3005 and "SIGKILL" in str(said["errorMessage"]):
        return "lost"
    return f"wrong: {status} {str(said)[:300]} instead of {str(right)[:60]}"


class Killer(threading.Thread):
    """Kills a random worker now and then, whatever it does."""

    def __init__(self, server: Server, kills: int, every_s: float) -> None:
        super().__init__()
        self._server = server
        self._kills = kills
        self._every_s = every_s
        self._over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        chance = random.Random(SEED)
        while self.killed < self._kills and not self._over.wait(self._every_s):
            found = workers(self._server.pid)
            if found:
                with suppress(psutil.NoSuchProcess):
                    chance.choice(found).kill()
                    self.killed += 1

    def end(self) -> None:
        self._over.set()
        self.join()


class Footprint:
    """What a server holds, once it is quiet."""

    def __init__(self, server: Server, temporary: Path) -> None:
        until(lambda: self._is_quiet(server), SETTLED_WITHIN_S, "the server is quiet")
        self.zygotes = len(zygotes(server.pid))
        self.workers = len(workers(server.pid))
        family = psutil.Process(server.pid).children(recursive=True)
        self.family = [process for process in family if process.name() not in WRAPPERS]
        self.descriptors = descriptors(server.pid)
        self.homes = {home for z in zygotes(server.pid) for home in _homes(z.pid, temporary)}
        inside = {str(home) for home in self.homes}
        files = [path for path in temporary.rglob("*") if path.is_file()]
        self.outside = [f for f in files if not inside & {str(folder) for folder in f.parents}]

    @staticmethod
    def _is_quiet(server: Server) -> bool:
        with server.client() as client:
            said = client.get("/health").json()
        connections = psutil.Process(server.pid).net_connections("tcp")
        # a connection that its client has closed is a descriptor until the server has seen it
        clients = [c for c in connections if c.status != psutil.CONN_LISTEN]
        alive = len(workers(server.pid))
        return said["busy"] == said["runs"] == 0 and not clients and said["workers"] == alive

    @property
    def steady(self) -> dict[str, int]:
        """All descriptors but those of workers and of the database."""
        moving = ("socket", "/memfd")
        return {k: n for k, n in self.descriptors.items() if k not in moving and ".db" not in k}

    @property
    def database(self) -> int:
        """Descriptors of the database, whose connections are kept up to a limit."""
        return sum(n for kind, n in self.descriptors.items() if ".db" in kind)

    @property
    def sockets(self) -> int:
        """Sockets but for one a zygote and two a worker: its channel, and one for open files."""
        return self.descriptors["socket"] - self.zygotes - 2 * self.workers


def _homes(zygote_pid: int, temporary: Path) -> list[Path]:
    """List the directories of workers as a zygote sees them: they may be in a mount of its own."""
    root = Path(f"/proc/{zygote_pid}/root")
    places = (temporary, bubble.inside(temporary))
    found = [home for p in places for home in root.joinpath(*p.parts[1:]).glob("fanfold-*/z*/w*")]
    return [Path("/", home.relative_to(root)) for home in found if not home.suffix]


def test_2000_requests_are_right_while_one_in_a_hundred_loses_a_worker(
    server: Server, tokens: dict[str, str], temporary: Path
) -> None:
    chance = random.Random(SEED)
    warm = _send(server, tokens, _requests(200, chance))
    assert warm == {"right": 200}
    # one for the scripts' owner, and the spare one, which is started again when it was taken
    until(lambda: len(zygotes(server.pid)) >= 2, 100, "the spare zygote is there")
    before = Footprint(server, temporary)

    killer = Killer(server, KILLS, every_s=0.1)
    killer.start()
    try:
        verdicts = _send(server, tokens, _requests(REQUESTS, chance))
    finally:
        killer.end()
    assert killer.killed == KILLS
    assert set(verdicts) <= {"right", "lost"}, verdicts
    assert sum(verdicts.values()) == REQUESTS
    assert verdicts["lost"] <= KILLS // 2  # it takes two deaths in the same call

    after = Footprint(server, temporary)
    assert after.zygotes == before.zygotes
    assert after.sockets == before.sockets
    for footprint in (before, after):
        assert footprint.descriptors["/memfd"] == footprint.workers
        assert len(footprint.homes) == footprint.workers
        assert len(footprint.family) == footprint.zygotes + footprint.workers
    assert after.steady == before.steady
    assert after.database <= MAX_DATABASE_FILES
    assert not any(p.status() == psutil.STATUS_ZOMBIE for p in after.family)
    assert len(after.outside) == len(before.outside)  # all but what live workers hold


def test_a_call_that_kills_its_worker_costs_the_others_nothing(
    server: Server, tokens: dict[str, str]
) -> None:
    """All clients but one send good requests; that one kills its worker every time."""
    with Caller(server.url, "gus", tokens["gus"]) as gus:
        gus.store("deadly", "def deadly():\n    import os\n    os.kill(os.getpid(), 9)\n")
        over = threading.Event()
        deaths: list[int] = []

        def die() -> None:
            with Caller(server.url, "gus", tokens["gus"]) as own:
                while not over.is_set():
                    answer = own.do_eval("deadly")
                    assert answer.json()["errorCode"] == 3005
                    deaths.append(answer.status_code)

        with ThreadPoolExecutor(1) as pool:
            dying = pool.submit(die)
            try:
                verdicts = _send(server, tokens, _requests(300, random.Random(SEED)))
            finally:
                over.set()
            dying.result()
    assert verdicts == {"right": 300}
    assert set(deaths) == {400}


def test_a_busy_owner_does_not_keep_another_from_its_turn(start_server: StartServer) -> None:
    """Two workers at most: whoever has waited longest is next, also of an owner without any."""
    users = {"gus": "developer", "hal": "developer"}
    server = start_server("--workers", "2", users=users)
    busiest = [0]
    with server.caller("gus") as gus, server.caller("hal") as hal:
        for caller in (gus, hal):
            caller.store("naps", SCRIPTS["naps"])
        body = {"times": 1, "parameters": '{"ms":100}'}
        assert gus.index_apply("naps", body).status_code == 200
        over = threading.Event()

        def keep_busy() -> None:
            with Caller(server.url, "gus", gus.token) as own:
                while not over.is_set():
                    assert own.index_apply("naps", body).json() == {"result": [[1, 100]]}

        with ThreadPoolExecutor(6) as pool:
            busy = [pool.submit(keep_busy) for _ in range(6)]
            try:
                until(lambda: _busy(hal) >= 2, 60, "both workers are taken")
                for _ in range(5):
                    watch = Stopwatch()
                    assert hal.index_apply("naps", body).json() == {"result": [[1, 100]]}
                    assert watch.counted_s() < 5
                    busiest.append(_busy(hal))
            finally:
                over.set()
            for done in busy:
                done.result()
    assert max(busiest) <= 2


def _busy(caller: Caller) -> int:
    return int(str(caller.get("/health").json()["busy"]))


def test_a_stopped_worker_is_no_leak(server: Server, tokens: dict[str, str]) -> None:
    """A worker that somebody stops holds its call until the call's caller goes; then it ends."""
    with Caller(server.url, "gus", tokens["gus"]) as gus:
        assert gus.do_eval("itself").status_code == 200
        stopped = workers(server.pid)
        for worker in stopped:
            os.kill(worker.pid, signal.SIGSTOP)
        try:
            with (
                Caller(server.url, "gus", gus.token) as hasty,
                suppress(Exception),
            ):
                hasty.timeout = 0.5
                hasty.do_eval("itself")
            promised(
                lambda: any(not worker.is_running() for worker in stopped), 2.0, "its worker ended"
            )
        finally:
            for worker in stopped:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGCONT)
        assert gus.do_eval("itself").content == b'{"result":0}'
