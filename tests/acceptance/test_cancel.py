"""Runs that nobody waits for any more end, with everything that they started, within 2 s.

The 2 s are those of a machine that has a processor for it: `tests/calm.py` says how they are
counted on a busy one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.acceptance.conftest import Caller, Server, StartServer, serving
from tests.acceptance.processes import holders, is_gone, promised, until, workers, zygotes
from tests.calm import Stopwatch
from tests.folders import reachable_folder

GONE_WITHIN_S = 2.0
STARTED_WITHIN_S = 60.0
"""Ends a test that would hang: no promise."""

TREE = '''
def tree(i=0, marker="", seconds=600):
    """Hold a marked file, and start a daemon, its child and a program that hold it, too."""
    import os, signal, subprocess, time

    held = os.open(marker, os.O_CREAT | os.O_WRONLY)
    if marker.endswith("alone"):
        time.sleep(seconds)
        return i
    subprocess.Popen(["sleep", str(seconds)], pass_fds=[held], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork():
            os._exit(0)
        os.chdir("/")
        if os.fork() == 0:
            os.setsid()
        time.sleep(seconds)
        os._exit(0)
    time.sleep(seconds)
    return i
'''
TREE_SIZE = 4
"""The worker, the daemon, the daemon's child, the program."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"carla": "developer", "dora": "developer"}
    with serving(tmp_path_factory.mktemp("cancel"), users=users) as running:
        yield running


@pytest.fixture(scope="module")
def carla(server: Server) -> Iterator[Caller]:
    with server.caller("carla") as caller:
        _store(caller)
        yield caller


@pytest.fixture(scope="module")
def dora(server: Server, carla: Caller) -> Iterator[Caller]:
    assert carla.put("/api/v1/scripts/tree/grants/dora").is_success
    with server.caller("dora") as caller:
        yield caller


@pytest.fixture
def marker() -> Iterator[str]:
    """A name for the file that a test's runs hold open; whatever still holds it is ended."""
    name = f"held-{uuid.uuid4().hex}"
    yield name
    for pid in holders(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Send a request as a `Visitor`, who is gone when the test is over."""
    with ExitStack() as stack:

        def send(caller: Caller, path: str, body: object) -> Visitor:
            visitor = Visitor(caller, path, body)
            stack.callback(visitor.close)
            return visitor

        yield send


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for a server's temporary files that other user ids may pass through."""
    with reachable_folder() as folder:
        yield folder


def _store(caller: Caller) -> None:
    caller.store("tree", TREE)
    caller.store("quick", "def quick(i=0):\n    return i\n")


def _parameters(marker: str, **more: object) -> dict[str, str]:
    return {"parameters": json.dumps({"marker": marker, **more})}


class Visitor:
    """A client that sends one request by hand, so that it can go away as clients do."""

    def __init__(self, caller: Caller, path: str, body: object) -> None:
        url = urlsplit(str(caller.base_url))
        assert url.hostname is not None
        self.socket = socket.create_connection((url.hostname, url.port or 80))
        content = json.dumps(body).encode()
        head = (
            f"POST /oml/api/py-scripts/v1/{path} HTTP/1.1\r\nHost: here\r\n"
            f"Authorization: Bearer {caller.token}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + content)

    def answer(self, end: bytes) -> bytes:
        """Read until the answer ends so."""
        self.socket.settimeout(STARTED_WITHIN_S)
        read = b""
        while not read.endswith(end):
            more = self.socket.recv(65536)
            assert more, read
            read += more
        return read

    def close(self) -> None:
        self.socket.close()

    def say_no_more(self) -> None:
        """Close the sending side, read on for a while, and go away then."""
        self.socket.shutdown(socket.SHUT_WR)
        self.answer(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
        self.socket.close()

    def reset(self) -> None:
        """Go away without a word of goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Visit = Callable[[Caller, str, object], Visitor]


def _until_held(marker: str, count: int) -> None:
    until(lambda: len(holders(marker)) >= count, STARTED_WITHIN_S, f"{count} processes started")


def _until_gone(marker: str) -> None:
    promised(lambda: not holders(marker), GONE_WITHIN_S, f"the run ended: {marker}")


@pytest.mark.parametrize("way", ["close", "reset", "say_no_more"])
@pytest.mark.parametrize(
    "asked",
    [
        ("do-eval/tree", {}),
        ("do-eval/tree", {"graphicsFlag": True}),
        ("index-apply/tree", {"times": 2, "parallel": 2}),
    ],
    ids=["do-eval", "graphics", "index-apply"],
)
def test_a_client_that_goes_away_ends_its_run(
    carla: Caller, marker: str, visit: Visit, way: str, asked: tuple[str, dict[str, object]]
) -> None:
    path, body = asked
    visitor = visit(carla, path, {**body, **_parameters(marker)})
    _until_held(marker, TREE_SIZE * (2 if "times" in body else 1))
    getattr(visitor, way)()
    _until_gone(marker)
    assert carla.do_eval("quick").content == b'{"result":0}'


def test_it_ends_runs_of_anothers_script_too(dora: Caller, marker: str, visit: Visit) -> None:
    visitor = visit(dora, "do-eval/tree/carla", _parameters(marker))
    _until_held(marker, TREE_SIZE)
    visitor.close()
    _until_gone(marker)


def test_it_leaves_the_neighbours_alone(
    carla: Caller, dora: Caller, marker: str, visit: Visit
) -> None:
    """A run of the same account and one of the same script go on while a third is stopped."""
    answers: list[httpx2.Response] = []
    body = {"times": 2, **_parameters(f"{marker}-neighbour-alone", seconds=1.5)}

    def neighbour(caller: Caller, script: str) -> None:
        with Caller(str(caller.base_url), caller.name, caller.token) as own:
            answers.append(own.index_apply(script, body))

    threads = [
        threading.Thread(target=neighbour, args=pair)
        for pair in ((carla, "tree"), (dora, "tree/carla"))
    ]
    for thread in threads:
        thread.start()
    _until_held(f"{marker}-neighbour", 2)
    visitor = visit(carla, "do-eval/tree", _parameters(f"{marker}-gone"))
    _until_held(f"{marker}-gone", TREE_SIZE)
    visitor.close()
    _until_gone(f"{marker}-gone")
    for thread in threads:
        thread.join(STARTED_WITHIN_S)
    assert [answer.json() for answer in answers] == [{"result": [1, 2]}] * 2


def test_what_a_finished_run_leaves_behind_is_ended(carla: Caller, marker: str) -> None:
    """The call returns at once; its daemon does not outlive the run."""
    returns = TREE.replace("    time.sleep(seconds)\n    return", "    return")
    source = returns.replace("def tree", "def leaves")
    carla.store("leaves", source)
    body = _parameters(f"{marker}-short")
    assert carla.do_eval("leaves", body).json() == {"result": 0}
    promised(lambda: not holders(marker), GONE_WITHIN_S, "what the run left has ended")


def test_the_first_failure_ends_the_calls_beside_it(carla: Caller, marker: str) -> None:
    fails = """
    import time

    if i == 2:
        time.sleep(0.5)
        raise ValueError(i)
    held ="""
    carla.store("fails", TREE.replace("def tree", "def fails").replace("\n    held =", fails))
    body = {"times": 2, "parallel": 2, **_parameters(marker)}
    answer = carla.index_apply("fails", body)
    assert (answer.status_code, answer.json()["index"]) == (400, 2)
    _until_gone(marker)


def test_the_time_limit_of_a_waiting_caller_ends_the_run(
    start_server: StartServer, marker: str, visit: Visit
) -> None:
    server = start_server("--sync-timeout-s", "1", "--workers", "2", users={"eve": "developer"})
    with server.caller("eve") as eve:
        _store(eve)
        _until_quick(eve)  # started before the clock runs
        for path, body in (
            ("do-eval/tree", _parameters(marker)),
            ("index-apply/tree", {"times": 8, "parallel": 2, **_parameters(marker)}),
            ("index-apply/tree", {"times": 2, "onError": "continue", **_parameters(marker)}),
        ):
            began, watch = time.monotonic(), Stopwatch()
            answer = eve.post(f"/oml/api/py-scripts/v1/{path}", json=body)
            took_s, counted_s = time.monotonic() - began, watch.counted_s()
            error = answer.json()
            assert (answer.status_code, error["errorCode"]) == (504, 5003)
            assert "1 s" in error["errorMessage"]
            assert '"asyncFlag": true' in error["errorMessage"]
            assert took_s > 0.9
            assert counted_s < 3
            _until_gone(marker)
        _until_quick(eve)
        _queue_is_over(eve, server, marker, visit)


def _until_quick(eve: Caller) -> None:
    """Wait until a run has its value: on a busy machine, one may take longer than the limit."""
    answers: list[httpx2.Response] = []

    def has_value() -> bool:
        answers.append(eve.do_eval("quick"))
        return answers[-1].status_code != 504

    until(has_value, STARTED_WITHIN_S, "a run ended before its limit")
    assert answers[-1].content == b'{"result":0}'


def _queue_is_over(eve: Caller, server: Server, marker: str, visit: Visit) -> None:
    """Two workers at most: runs that wait behind others end in time, too, and with their caller."""
    visitors: list[Visitor] = []

    def two_run_and_four_wait() -> bool:
        if _health(server)["runs"] == 0:  # before the first, and when a second was too short
            visitors.extend(
                visit(eve, "do-eval/tree", _parameters(f"{marker}-{k}-alone")) for k in range(6)
            )
        held = len(holders(marker))
        assert held <= 2
        return held == 2

    until(two_run_and_four_wait, STARTED_WITHIN_S, "two runs at once")
    for visitor in visitors:
        visitor.close()
    _until_gone(marker)
    promised(lambda: _health(server)["runs"] == 0, GONE_WITHIN_S, "no run is left")
    _until_quick(eve)


def _health(server: Server) -> dict[str, object]:
    with server.client() as client:
        said: dict[str, object] = client.get("/health").json()
        return said


# ------------------------------------------------------------------------------ the server's end


def test_sigterm_ends_a_server_cleanly_with_runs_in_flight(
    temporary: Path, start_server: StartServer, marker: str
) -> None:
    """What is short may finish; the rest is told that the server shuts down. Nothing is left."""
    variables = {"TMPDIR": str(temporary)}
    server = start_server(users={"eve": "developer"}, variables=variables)
    answers: dict[str, httpx2.Response] = {}
    with server.caller("eve") as eve:
        _store(eve)
        runs = {"long": 600, "short": 2.0}

        def wait(name: str) -> None:
            body = _parameters(f"{marker}-{name}", seconds=runs[name])
            with Caller(server.url, "eve", eve.token) as own:
                answers[name] = own.do_eval("tree", body)

        threads = [threading.Thread(target=wait, args=(name,)) for name in runs]
        for thread in threads:
            thread.start()
        _until_held(marker, 2 * TREE_SIZE)
    family = psutil.Process(server.pid).children(recursive=True)
    assert any(temporary.iterdir())
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(STARTED_WITHIN_S) == 0
    promised(lambda: not holders(marker), GONE_WITHIN_S, "all that the runs started has ended")
    for thread in threads:
        thread.join(STARTED_WITHIN_S)
    assert all(is_gone(process.pid) for process in family)
    assert list(temporary.iterdir()) == []
    assert answers["short"].json() == {"result": 0}
    error = answers["long"].json()
    assert (answers["long"].status_code, error["errorCode"]) == (503, 5004)
    assert answers["long"].headers["content-type"] == "application/json"
    assert "Traceback" not in server.log.read_text()


def test_workers_do_not_outlive_a_server_that_is_killed(
    temporary: Path, start_server: StartServer, marker: str, visit: Visit
) -> None:
    """Nobody is left to end them: they, and what they started, end by themselves."""
    server = start_server(users={"eve": "developer"}, variables={"TMPDIR": str(temporary)})
    with server.caller("eve") as eve:
        _store(eve)
        assert eve.do_eval("quick").status_code == 200
        visitor = visit(eve, "index-apply/tree", {"times": 4, "parallel": 2, **_parameters(marker)})
        _until_held(marker, 2 * TREE_SIZE)
        family = [*zygotes(server.pid), *workers(server.pid)]
        assert len(family) >= 3
        server.process.kill()
        server.process.wait(STARTED_WITHIN_S)
        visitor.close()
    promised(
        lambda: all(is_gone(p.pid) for p in family), GONE_WITHIN_S, "zygotes and workers ended"
    )
    _until_gone(marker)


def test_a_killed_zygote_costs_its_runs_one_retry_and_then_a_clear_error(
    server: Server, carla: Caller, dora: Caller, marker: str, visit: Visit
) -> None:
    dora.store("quick", "def quick():\n    return 'dora'\n")
    assert dora.do_eval("quick").content == b'{"result":"dora"}'
    visitor = visit(carla, "do-eval/tree", _parameters(f"{marker}-alone"))
    for _ in range(2):
        _until_held(marker, 1)
        (worker,) = holders(marker)
        parent = psutil.Process(worker).ppid()
        assert parent in {zygote.pid for zygote in zygotes(server.pid)}
        os.kill(parent, signal.SIGKILL)
        promised(partial(is_gone, worker), GONE_WITHIN_S, "the zygote's worker ended")
    answer = visitor.answer(b"}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"errorCode":3005' in answer
    assert b"ended with the process that starts workers" in answer
    visitor.close()
    assert carla.do_eval("quick").content == b'{"result":0}'
    assert dora.do_eval("quick").content == b'{"result":"dora"}'
