"""Functions that may reach listed hosts reach those, and by no way anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanfold_server.engine.ladder import IsolationMissing
from fanfold_server.engine.outlets import PROGRAM
from fanfold_server.engine.sandbox import Openings
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable
from fanfold_server.model.network import Networks, ScriptNetwork, listed
from tests.fakes.hosts import Host, host
from tests.runtime.bench import Engine, ladder, opened, wait_until

FETCH = """
def f(i, url, data=None, headers={}, certificate=None):
    import ssl, urllib.error, urllib.request
    context = ssl.create_default_context(cadata=certificate) if certificate else None
    asked = urllib.request.Request(url, data=data and data.encode(), headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=60, context=context) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as exc:
        return "%d %s" % (exc.code, exc.reason)
    except OSError as exc:
        return str(exc)
"""
SPEAK = """
def f(i, lines):
    import os, socket, urllib.parse
    proxy = urllib.parse.urlsplit(os.environ["https_proxy"])
    with socket.create_connection((proxy.hostname, proxy.port), 10) as way:
        way.sendall(lines.encode("latin-1"))
        told = b""
        while piece := way.recv(65536):
            told += piece
            if told.startswith(b"HTTP/1.1 200 Connected"):
                return "connected"
    return told.decode("latin-1")
"""
PAST = """
def f(i, family, kind, where):
    import socket
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as way:
        way.settimeout(2)
        way.connect(tuple(where))
        way.send(b"ping")
        return way.recv(4).decode()
"""
SERVER = """
import asyncio, socket, sys
from pathlib import Path
from fanfold_server.engine.outlets import Outlets
from fanfold_server.model.network import listed
async def serve():
    outlets = Outlets(Path(sys.argv[1]))
    outlets.open(1, socket.create_server(("127.0.0.1", 0)), listed(["a.example"]))
    print(outlets.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(serve())
"""
HOLD = """
def f(i, port):
    import os, socket, time, urllib.parse
    proxy = urllib.parse.urlsplit(os.environ["https_proxy"])
    with socket.create_connection((proxy.hostname, proxy.port), 10) as way:
        way.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\n\\r\\n" % port)
        assert way.recv(1000).startswith(b"HTTP/1.1 200 ")
        open("there", "w").close()
        return [len(way.recv(1000))]
"""


@pytest.fixture(scope="module")
def allowed() -> Iterator[Host]:
    with host() as one:
        yield one


@pytest.fixture(scope="module")
def forbidden() -> Iterator[Host]:
    with host() as one:
        yield one


@pytest.fixture(scope="module")
def engine(
    libraries: Environment, allowed: Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Functions may reach the allowed host, by its address and by its name."""
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(f"lists need bwrap: {exc}")
    hosts = [allowed.place, f"localhost:{allowed.port}", "no-such-host.invalid:80"]
    openings = Openings(network=Networks(hosts=hosts))
    cache = tmp_path_factory.mktemp("cache")
    with opened(libraries, cache, isolation="bwrap", preload=(), openings=openings) as engine:
        yield engine


def fetch(engine: Engine, url: str, **parameters: Any) -> str:
    said: str = engine.run(FETCH, parameters={"url": url, **parameters}).value
    return said


def speak(engine: Engine, lines: str) -> str:
    said: str = engine.run(SPEAK, parameters={"lines": lines}).value
    return said


def proxies(engine: Engine) -> list[psutil.Process]:
    """Return the engine's proxies."""
    return [
        process
        for process in psutil.process_iter()
        if process.ppid() == os.getpid()
        and PROGRAM in process.cmdline()
        and process.environ().get("FANFOLD_SCRATCH") == str(engine.scratch)
    ]


@pytest.mark.parametrize("rung", ["none", "basic", "confined"])
def test_a_list_is_refused_where_nothing_can_hold_functions_to_it(
    rung: str, libraries: Environment, tmp_path: Path
) -> None:
    try:
        ladder(rung, libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    with opened(libraries, tmp_path, isolation=rung, preload=()) as lower:
        wanted = ScriptNetwork(grant=listed(["api.example.org"]))
        error = lower.run(FETCH, parameters={"url": "http://x"}, network=wanted).error
        assert isinstance(error, EngineUnavailable)
        assert "needs the isolation bwrap" in str(error)
        assert rung in str(error)
        assert lower.run("def f(i): return i").value == 1


def test_a_listed_host_is_reached(engine: Engine, allowed: Host) -> None:
    hello = f"hello from {allowed.port}: "
    assert fetch(engine, f"http://{allowed.place}/a?b=c") == f"{hello}0"
    line, headers, _ = allowed.asked[-1]
    assert line == "GET /a?b=c HTTP/1.1"
    assert headers["Host"] == allowed.place
    assert headers["Connection"] == "close"
    assert not any(name.lower().startswith("proxy") for name in headers)
    assert (
        fetch(engine, f"http://LOCALHOST:{allowed.port}/", data="x" * 100_000) == f"{hello}100000"
    )


def test_bodies_of_unknown_length_arrive(engine: Engine, allowed: Host) -> None:
    source = """
def f(i, where):
    import http.client, os, urllib.parse
    proxy = urllib.parse.urlsplit(os.environ["http_proxy"])
    way = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=60)
    pieces = (b"y" * 1000 for _ in range(100))
    way.request("POST", "http://%s/" % where, body=pieces, encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"})
    return way.getresponse().read().decode()
"""
    said = engine.run(source, parameters={"where": allowed.place}).value
    assert said == f"hello from {allowed.port}: 100000"
    assert allowed.asked[-1][2] == b"y" * 100_000


def test_tls_is_spoken_with_the_host_itself(libraries: Environment, tmp_path: Path) -> None:
    """What is said there is the proxy's to pass on, and not to read."""
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    with host(tmp_path) as secure:
        certificate = (tmp_path / "localhost.pem").read_text().partition("-----BEGIN CERT")
        hosts = [f"localhost:{secure.port}", secure.place]
        openings = Openings(network=Networks(hosts=hosts))
        with opened(libraries, tmp_path, preload=(), openings=openings, isolation="bwrap") as one:
            said = fetch(
                one,
                f"https://localhost:{secure.port}/",
                certificate="".join(certificate[1:]),
            )
            assert said == f"hello from {secure.port}: 0"
            refused = fetch(one, "https://example.org/")
    assert "403 example.org:443 is not on the allow-list" in refused


def test_other_hosts_and_ports_are_refused_by_name(engine: Engine, forbidden: Host) -> None:
    for where in (
        forbidden.place, f"localhost:{forbidden.port}", "example.org:80", "[::1]:80",
        "169.254.169.254:80", "10.0.0.1:80", "2130706433:80", "0x7f.1:80",
    ):  # fmt: skip
        said = fetch(engine, f"http://{where}/")
        assert said.startswith(f"403 {where} is not on the allow-list"), said
    assert forbidden.asked == []


def test_a_redirect_does_not_lead_past_the_list(
    engine: Engine, allowed: Host, forbidden: Host
) -> None:
    allowed.redirect = f"http://{forbidden.place}/"
    said = fetch(engine, f"http://{allowed.place}/redirect")
    assert said.startswith(f"403 {forbidden.place} is not on the allow-list")
    assert forbidden.asked == []


def test_a_listed_name_leads_to_no_private_address(
    libraries: Environment, allowed: Host, tmp_path: Path
) -> None:
    """Whoever owns the name decides what it stands for: here, for this machine."""
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    before = len(allowed.asked)
    openings = Openings(network=Networks(hosts=[f"localhost:{allowed.port}"]))
    with opened(libraries, tmp_path, preload=(), openings=openings, isolation="bwrap") as one:
        said = fetch(one, f"http://localhost:{allowed.port}/")
    assert (
        said == f"403 localhost:{allowed.port} is at no public address, and its own is not listed"
    )
    assert len(allowed.asked) == before


def test_a_name_that_is_unknown_is_said_to_be(engine: Engine) -> None:
    assert fetch(engine, "http://no-such-host.invalid/").startswith("502 The name no-such-host")


def test_a_listed_host_that_is_down_is_said_to_be(engine: Engine) -> None:
    with host() as gone:
        pass
    wanted = ScriptNetwork(grant=listed([gone.place]))
    said = engine.run(FETCH, parameters={"url": f"http://{gone.place}/"}, network=wanted).value
    assert said == f"502 {gone.place} could not be connected to"


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    [
        ("AF_INET", "SOCK_STREAM", "127.0.0.1"),
        ("AF_INET", "SOCK_DGRAM", "127.0.0.1"),
        ("AF_INET6", "SOCK_STREAM", "::1"),
        ("AF_INET", "SOCK_STREAM", "192.0.2.1"),
        ("AF_INET", "SOCK_DGRAM", "192.0.2.1"),
        ("AF_INET6", "SOCK_STREAM", "2001:db8::1"),
        ("AF_INET", "SOCK_RAW", "127.0.0.1"),
    ],
)
def test_nothing_is_reached_past_the_proxy(
    engine: Engine, allowed: Host, family: str, kind: str, address: str
) -> None:
    """Not even the host that is listed: the variables are a hint, and the namespace is the wall."""
    where = [address, allowed.port]
    record = engine.run(PAST, parameters={"family": family, "kind": kind, "where": where})
    assert record.failure.type in {"OSError", "PermissionError", "ConnectionRefusedError",
                                   "TimeoutError"}  # fmt: skip


def test_names_are_not_looked_up_inside(engine: Engine) -> None:
    source = "import socket\ndef f(i): return socket.getaddrinfo('example.org', 80)"
    assert engine.run(source).failure.type.endswith("gaierror")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("hello\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", 400),
        ("GET https://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n", 400),
        ("GET ftp://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://u:p@127.0.0.1:{port}/ HTTP/1.1\r\n\r\n", 400),
        ("CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT 127.0.0.1:99999 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT example.org:443 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", 403),
        ("CONNECT 127.0.0.1.:{other} HTTP/1.1\r\n\r\n", 403),
        ("GET http://example.org/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", 403),
        ("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nX: " + "x" * 70_000 + "\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_to_a_proxy_is_refused(
    engine: Engine, allowed: Host, forbidden: Host, lines: str, status: int
) -> None:
    before = len(allowed.asked)
    filled = lines.replace("{port}", str(allowed.port)).replace("{other}", str(forbidden.port))
    assert speak(engine, filled).startswith(f"HTTP/1.1 {status} ")
    assert len(allowed.asked) == before


def test_the_host_sees_whom_the_list_was_asked_for(engine: Engine, allowed: Host) -> None:
    """A header may name somebody else, who lives at the same address."""
    lines = f"GET http://{allowed.place}/x HTTP/1.1\r\nHost: example.org\r\nX: 1\r\n\r\n"
    assert speak(engine, lines).startswith("HTTP/1.1 200 ")
    _, headers, _ = allowed.asked[-1]
    assert headers["Host"] == allowed.place
    assert headers["X"] == "1"


def test_a_second_request_does_not_ride_on_the_first(engine: Engine, allowed: Host) -> None:
    """It might be for another host; the first one's would get it."""
    before = len(allowed.asked)
    first = f"GET http://{allowed.place}/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    second = "GET http://example.org/2 HTTP/1.1\r\nHost: example.org\r\n\r\n"
    said = engine.run(SPEAK, parameters={"lines": first + second})
    assert [line for line, _, _ in allowed.asked[before:]] in ([], ["GET /1 HTTP/1.1"])
    assert said.failures or "hello" in said.value or said.value == ""


def test_a_proxy_that_dies_is_started_again(engine: Engine, allowed: Host) -> None:
    """What goes through it is broken off; whoever comes then waits for the next one."""
    assert fetch(engine, f"http://{allowed.place}/").startswith("hello")
    (proxy,) = proxies(engine)
    going = engine.start(HOLD, parameters={"port": allowed.port})
    wait_until(lambda: bool(proxy.net_connections()) and len(connections(proxy)) >= 1, "it is used")
    proxy.kill()
    assert fetch(engine, f"http://{allowed.place}/").startswith("hello")
    broken = going.wait()
    assert broken.failures or broken.value == [0]
    (again,) = proxies(engine)
    assert again.pid != proxy.pid


def test_functions_are_told_when_there_is_no_proxy(
    libraries: Environment, allowed: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not left to wait until their time is up."""
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    openings = Openings(network=Networks(hosts=[allowed.place]))
    with opened(libraries, tmp_path, preload=(), openings=openings, isolation="bwrap") as one:
        for owner in ("ANN", "BOB"):
            said = one.run(FETCH, parameters={"url": f"http://{allowed.place}/"}, owner=owner).value
            assert said.startswith("503 The proxy for functions does not run")


def connections(proxy: psutil.Process) -> list[Any]:
    return [each for each in proxy.net_connections() if each.status == psutil.CONN_ESTABLISHED]


def test_the_proxy_has_no_rights_and_ends_with_the_engine(
    libraries: Environment, allowed: Host, tmp_path: Path
) -> None:
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    openings = Openings(network=Networks(hosts=[allowed.place]))
    with opened(libraries, tmp_path, preload=(), openings=openings, isolation="bwrap") as one:
        assert fetch(one, f"http://{allowed.place}/").startswith("hello")
        (proxy,) = proxies(one)
        status = Path(f"/proc/{proxy.pid}/status").read_text()
        assert "\nNoNewPrivs:\t1" in status
        if os.geteuid() == 0:
            assert "\nUid:\t69999\t69999\t69999\t69999" in status
            assert "\nCapEff:\t0000000000000000" in status
        kept = proxy.environ() if os.geteuid() == 0 else {}
        assert kept.keys() <= {"PYTHONPATH", "LANG", "FANFOLD_SCRATCH"}
    assert not proxy.is_running() or proxy.status() == psutil.STATUS_ZOMBIE


def test_the_proxy_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    """No signal tells it: the channel does."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        proxy = psutil.Process(int(server.stdout.readline()))
        assert proxy.is_running()
        server.kill()
    proxy.wait(60)


def test_without_a_list_there_is_no_proxy(libraries: Environment, tmp_path: Path) -> None:
    source = "import os\ndef f(i): return [k for k in os.environ if 'proxy' in k.lower()]"
    with opened(libraries, tmp_path, preload=()) as one:
        assert one.run(source).value == []
        assert proxies(one) == []


def test_policies_have_workers_of_their_own(engine: Engine, allowed: Host) -> None:
    """The same owner and environment; a list that says the same is the same."""
    source = "import os\ndef f(i): return [os.getpid(), os.readlink('/proc/self/ns/net')]"
    nothing = ScriptNetwork(limit=listed([]))
    again = ScriptNetwork(grant=listed([allowed.place]))
    namespaces = [
        engine.run(source, network=network).value[1] for network in (None, nothing, again, nothing)
    ]
    assert namespaces[0] == namespaces[2] != namespaces[1] == namespaces[3]


def test_a_call_is_not_held_up_by_one_that_waits(engine: Engine, allowed: Host) -> None:
    """The proxy serves many at once."""
    goings = [engine.start(HOLD, parameters={"port": allowed.port}) for _ in range(3)]
    try:
        assert fetch(engine, f"http://{allowed.place}/").startswith("hello")
    finally:
        for going in goings:
            going.cancel()
            going.wait()
