"""Clients that mean harm, beside others that do not: who is refused, how, and what it costs others.

Everything here speaks bytes over sockets, as an attacker does.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import Caller, Server, serving

LIMIT_S = 120
HEAD_S = 2
BODY_S = 2
RUN = "/oml/api/py-scripts/v1/do-eval"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that bears little."""
    options = ["--head-timeout-s", str(HEAD_S), "--body-timeout-s", str(BODY_S)]
    options += ["--max-connections", "40", "--max-head-kib", "16", "--max-body-mib", "1"]
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, *options, users={"alice": "developer"}) as server:
        yield server


@pytest.fixture(scope="module")
def caller(guarded: Server) -> Iterator[Caller]:
    with guarded.caller("alice") as caller:
        caller.store("quick", "def quick():\n    return 1\n")
        yield caller


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=LIMIT_S) as raw:
        yield raw


def answer_to(server: Server, *pieces: bytes) -> tuple[int, dict[str, object], bytes]:
    """Send pieces; gives the status of what comes, its JSON, and all that came until the end."""
    with connected(server) as raw:
        for piece in pieces:
            raw.sendall(piece)
        return answered(raw)


def answered(raw: socket.socket) -> tuple[int, dict[str, object], bytes]:
    """Read to the end of the connection; that it ends is part of what is tested."""
    came = b""
    while piece := raw.recv(65536):
        came += piece
    if not came:
        return 0, {}, b""
    head, _, body = came.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body), came


def first_answer(raw: socket.socket) -> bytes:
    """Read one answer from a connection that stays."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += raw.recv(65536)
    lines, _, body = came.partition(b"\r\n\r\n")
    lengths = [line for line in lines.lower().split(b"\r\n") if line.startswith(b"content-length")]
    missing = int(lengths[0].split(b":")[1]) - len(body)
    while missing > 0:
        piece = raw.recv(65536)
        came, missing = came + piece, missing - len(piece)
    return came


def head(server: Server, method: str, path: str, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", *more, "", ""]
    return "\r\n".join(lines).encode()


# ------------------------------------------------------------------------------------- no HTTP


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00 a TLS hello\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nA header without a colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{} ",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_in_our_shape(guarded: Server, sent: bytes) -> None:
    """Two lengths, or a length and chunks, are how one request is smuggled inside another."""
    status, members, came = answer_to(guarded, sent)
    assert status in {400, 401}, came
    if status == 400:
        assert isinstance(members["errorMessage"], str)
        assert b"x-content-type-options: nosniff" in came


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Large: " + "x" * 17_000],
        [f"X-{n}: 1" for n in range(200)],
        ["X-Large: " + "x" * 1_000_000],
        [f"X-{n}: {'x' * 100}" for n in range(100)] + ["X-Large: " + "x" * 10_000],
    ],
)
def test_a_head_that_is_too_large_is_refused(guarded: Server, lines: list[str]) -> None:
    with connected(guarded) as raw:
        sent = head(guarded, "GET", "/health", *lines)
        try:
            raw.sendall(sent)
            status, members, _ = answered(raw)
        except (BrokenPipeError, ConnectionResetError):
            return  # it was refused while it was still sent
    assert (status, members["errorCode"]) == (431, 2092)
    assert members["limitBytes"] == 16 * 1024


def test_a_path_that_is_too_long_is_refused(guarded: Server) -> None:
    status, members, _ = answer_to(guarded, head(guarded, "GET", "/" + "a" * 20_000))
    assert (status, members["errorCode"]) == (431, 2092)


# ------------------------------------------------------------------------------------ too slow


def test_a_head_that_does_not_end_is_refused_in_time(guarded: Server) -> None:
    began = time.monotonic()
    status, members, _ = answer_to(guarded, b"GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    assert (status, members["errorCode"]) == (408, 2091)
    assert time.monotonic() - began >= HEAD_S


def test_a_head_that_drips_is_refused_all_the_same(guarded: Server) -> None:
    """Every byte is news, but the head as a whole has its time, on a kept connection, too."""
    with connected(guarded) as raw:
        raw.sendall(head(guarded, "GET", "/health"))
        assert first_answer(raw).startswith(b"HTTP/1.1 200")
        raw.sendall(b"GET /health HTTP/1.1\r\n")
        stop = _dripping(raw, b"X: y\r\n")
        status, _, _ = answered(raw)
        stop()
    assert status == 408


def test_who_says_nothing_is_let_go(guarded: Server) -> None:
    assert answer_to(guarded) == (0, {}, b"")


def test_a_body_that_drips_is_refused(guarded: Server, caller: Caller) -> None:
    with connected(guarded) as raw:
        raw.sendall(
            head(
                guarded,
                "POST",
                f"{RUN}/quick",
                f"Authorization: Bearer {caller.token}",
                "Content-Length: 10000",
            )
        )
        stop = _dripping(raw, b" ")
        status, members, _ = answered(raw)
        stop()
    assert (status, members["errorCode"]) == (408, 2091)


def test_a_body_that_comes_slowly_but_surely_is_taken(guarded: Server, caller: Caller) -> None:
    """16 KiB at twice the least speed takes longer than a client may be behind."""
    body = b'{"parameters": {}}'.ljust(16 * 1024)
    with connected(guarded) as raw:
        length = f"Content-Length: {len(body)}"
        token = f"Authorization: Bearer {caller.token}"
        raw.sendall(head(guarded, "POST", f"{RUN}/quick", token, length, "Connection: close"))
        for start in range(0, len(body), 2048):
            raw.sendall(body[start : start + 2048])
            time.sleep(0.4)
        status, members, _ = answered(raw)
    assert (status, members) == (200, {"result": 1})


def test_a_body_that_nobody_wants_ends_with_the_connection(guarded: Server) -> None:
    """Refused by its length, and sent on for ever."""
    with connected(guarded) as raw:
        raw.sendall(head(guarded, "POST", f"{RUN}/quick", "Content-Length: 1000000000"))
        assert first_answer(raw).startswith(b"HTTP/1.1 413")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _send_until_refused(raw)


# ---------------------------------------------------------------------------- cut, and pipelined


@pytest.mark.parametrize("sent", [b"", b"{}", b'{"asyncFlag": true}'])
def test_a_request_that_is_cut_is_not_carried_out(
    guarded: Server, caller: Caller, sent: bytes
) -> None:
    """What came may be whole JSON, and is not what was meant."""
    before = caller.get("/api/v1/jobs").json()
    with connected(guarded) as raw:
        token = f"Authorization: Bearer {caller.token}"
        raw.sendall(head(guarded, "POST", f"{RUN}/quick", token, "Content-Length: 100") + sent)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
    assert caller.get("/api/v1/jobs").json() == before


def test_pipelined_requests_are_answered_in_their_order(guarded: Server, caller: Caller) -> None:
    token = f"Authorization: Bearer {caller.token}"
    asked = [
        head(guarded, "POST", f"{RUN}/quick", token, "Content-Length: 2") + b"{}",
        head(guarded, "GET", "/nope", token),
        head(guarded, "GET", "/health", "Connection: close"),
    ]
    with connected(guarded) as raw:
        raw.sendall(b"".join(asked))
        came = b""
        while piece := raw.recv(65536):
            came += piece
    statuses = [part.split()[0] for part in came.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]


def test_a_flood_of_pipelined_requests_is_cut_after_what_was_begun(guarded: Server) -> None:
    with connected(guarded) as raw:
        raw.sendall(head(guarded, "GET", "/health") * 2000)
        came = b""
        try:
            while piece := raw.recv(65536):
                came += piece
        except ConnectionResetError:
            pass
    assert 1 <= came.count(b"HTTP/1.1 200") < 2000


def test_no_request_follows_one_that_was_no_request(guarded: Server) -> None:
    sent = b"NOT HTTP\r\n\r\n" + head(guarded, "GET", "/health")
    _, _, came = answer_to(guarded, sent)
    assert came.startswith(b"HTTP/1.1 400")
    assert b"200 OK" not in came


# ------------------------------------------------------------------------------- too many, others


def test_who_waits_longest_makes_room_for_a_new_connection(guarded: Server, caller: Caller) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(guarded))
        with guarded.client() as client:
            for _ in range(5):
                assert client.get("/health").status_code == 200
    assert caller.do_eval("quick").json() == {"result": 1}


def test_the_others_are_served_while_attackers_are_at_it(
    guarded: Server, caller: Caller, record_property: Callable[[str, object], None]
) -> None:
    """The figure is reported (`-rP`, or the JUnit file); that all is well is asserted."""
    alone = _latencies(caller, 60)
    stop = threading.Event()
    attacks = (_drip_heads, _flood, _send_too_much, _send_nonsense)
    threads = [threading.Thread(target=attack, args=(guarded, stop)) for attack in attacks]
    for thread in threads:
        thread.start()
    try:
        beside = _latencies(caller, 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT_S)
    factor = statistics.median(beside) / statistics.median(alone)
    record_property("latency_factor", round(factor, 2))
    sys.stdout.write(
        f"median {statistics.median(alone) * 1e3:.1f} ms alone, "
        f"{statistics.median(beside) * 1e3:.1f} ms beside attackers, factor {factor:.1f}\n"
    )
    assert not any(thread.is_alive() for thread in threads)
    assert caller.get("/health").json()["status"] == "ok"


def _latencies(caller: Caller, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        assert caller.do_eval("quick").json() == {"result": 1}
        taken.append(time.perf_counter() - began)
    return taken


def _send_until_refused(raw: socket.socket) -> None:
    give_up = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up:
        raw.sendall(b" " * 4096)
        time.sleep(0.01)


def _dripping(raw: socket.socket, drop: bytes) -> Callable[[], None]:
    """Send a drop now and then from a thread; gives what stops it."""
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.2):
            try:
                raw.sendall(drop)
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join(LIMIT_S)

    return stop


def _drip_heads(server: Server, stop: threading.Event) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(connected(server)) for _ in range(20)]
        while not stop.wait(0.05):
            for raw in open_ones:
                try:
                    raw.sendall(b"G")
                except OSError:
                    continue


def _flood(server: Server, stop: threading.Event) -> None:
    while not stop.is_set():
        _try(server, head(server, "GET", "/nope") * 50)


def _send_too_much(server: Server, stop: threading.Event) -> None:
    large = head(server, "POST", f"{RUN}/quick", "Content-Length: 20000000")
    while not stop.is_set():
        _try(server, large + b" " * 100_000)


def _send_nonsense(server: Server, stop: threading.Event) -> None:
    while not stop.is_set():
        _try(server, bytes(range(256)) * 16)


def _try(server: Server, sent: bytes) -> None:
    try:
        with connected(server) as raw:
            raw.settimeout(1)
            raw.sendall(sent)
            raw.recv(65536)
    except OSError:
        return
