"""Heads that RFC 9112 has us refuse, and clients that close their sending side and read on.

Everything here speaks bytes over sockets, since no library sends such requests.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Caller, Server, serving
from tests.acceptance.test_attackers import RUN, answer_to, answered, connected, first_answer, head

CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"
NAP_S = 1.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"frida": "developer"}
    with serving(tmp_path_factory.mktemp("framing"), users=users) as server:
        with server.caller("frida") as caller:
            caller.store("quick", "def quick():\n    return 1\n")
            caller.store("nap", f"import time\ndef nap():\n    time.sleep({NAP_S})\n    return 2\n")
        yield server


def run(server: Server, caller: Caller, script: str, *more: str) -> bytes:
    """Write the head of a run."""
    return head(server, "POST", f"{RUN}/{script}", f"Authorization: Bearer {caller.token}", *more)


# ------------------------------------------------------------------------------------ how long


@pytest.mark.parametrize(
    "codings",
    [
        ["gzip, chunked"],
        ["gzip", "chunked"],
        ["x-unheard-of, chunked"],
        ["GZIP,chunked"],
        ["identity, chunked"],
    ],
)
def test_a_coding_that_we_do_not_know_is_refused(
    server: Server, frida: Caller, codings: list[str]
) -> None:
    """RFC 9112, 6.1: 501. Nothing that is inside would be what was meant."""
    lines = [f"Transfer-Encoding: {coding}" for coding in codings]
    status, members, came = answer_to(server, run(server, frida, "quick", *lines) + CHUNKED)
    assert (status, members["errorCode"]) == (501, 2093)
    assert b"connection: close" in came


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 2"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Content-Length: 2", "Content-Length: 2"],
        ["Content-Length: 2, 2"],
        ["Content-Length: +2"],
    ],
)
def test_a_body_of_no_certain_length_ends_the_connection(
    server: Server, frida: Caller, lines: list[str]
) -> None:
    """RFC 9112, 6.3: whoever reads it in another way finds another request behind it."""
    sent = run(server, frida, "quick", *lines) + CHUNKED
    status, members, came = answer_to(server, sent + head(server, "GET", "/health"))
    assert (status, members["errorCode"]) == (400, 2090)
    assert came.count(b"\r\n\r\n") == 1


def test_chunks_alone_are_taken_in_any_case(server: Server, frida: Caller) -> None:
    for word in ("chunked", "Chunked", "CHUNKED"):
        lines = (f"Transfer-Encoding: {word}", "Connection: close")
        status, members, _ = answer_to(server, run(server, frida, "quick", *lines) + CHUNKED)
        assert (status, members) == (200, {"result": 1})


# ---------------------------------------------------------------------------------- which host


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["Host: a", "Host: a"],
        ["Host: a", "Host: b"],
        ["Host: a", "host: b"],
        ["Host: a b"],
        ["Host: a/b"],
        ["Host: user@a"],
        ['Host: a"'],
    ],
)
def test_a_request_names_its_host_once(server: Server, hosts: list[str]) -> None:
    """RFC 9112, 3.2: of two hosts, a proxy may check the one and we use the other."""
    lines = ["GET /health HTTP/1.1", *hosts, "Connection: close", "", ""]
    status, members, _ = answer_to(server, "\r\n".join(lines).encode())
    assert (status, members["errorCode"]) == (400, 2090)
    assert '"Host"' in str(members["errorMessage"])


@pytest.mark.parametrize(
    "host", ["a", "a:80", "[::1]:80", "xn--bcher-kva.example", "a_b.local", ""]
)
def test_hosts_of_any_form_are_taken(server: Server, host: str) -> None:
    sent = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert answer_to(server, sent.encode())[0] == 200


def test_http_1_0_needs_no_host(server: Server) -> None:
    assert answer_to(server, b"GET /health HTTP/1.0\r\n\r\n")[0] == 200


def test_another_version_is_refused_by_its_number(server: Server) -> None:
    status, members, _ = answer_to(server, b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n")
    assert (status, members["errorCode"]) == (400, 2090)
    assert "not HTTP/2.0" in str(members["errorMessage"])


@pytest.mark.parametrize("name", ["%ff", "caf%E9", "%ED%A0%BD", "%C3", "a%ffb%EF%BF%BD"])
@pytest.mark.parametrize("path", ["/api/v1/scripts/{}", "/api/v1/jobs/{}", "/api/nope/{}"])
def test_a_path_that_is_no_text_is_refused(frida: Caller, name: str, path: str) -> None:
    """Other bytes would be the same name: one script could be stored over another."""
    answer = frida.post(path.format(name), content=b"{}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2090)
    assert "not UTF-8" in answer.json()["errorMessage"]


@pytest.mark.parametrize("name", ["%ff", "caf%E9"])
def test_below_the_compatible_surface_it_is_a_name_that_nothing_has(
    frida: Caller, name: str
) -> None:
    known = frida.post(f"{RUN}/nothing-has-it", content=b"{}")
    answer = frida.post(f"{RUN}/{name}", content=b"{}")
    assert answer.status_code == known.status_code
    assert answer.json()["errorCode"] == known.json()["errorCode"]


def test_a_name_may_have_the_very_character_that_others_become(frida: Caller) -> None:
    path = "/api/v1/scripts/odd%EF%BF%BD"
    assert frida.put(path, json={"source": "def main():\n    return 1\n"}).is_success
    assert frida.do_eval("odd%ef%bf%bd").json() == {"result": 1}
    assert frida.delete(path).status_code == 204


def test_a_refusal_is_never_taken_for_an_earlier_answer(server: Server, frida: Caller) -> None:
    """What comes first on a connection is the answer to what was asked first."""
    asked = run(server, frida, "nap", "Content-Length: 2") + b"{}"
    for second in (b"NOT HTTP\r\n\r\n", head(server, "GET", "/health", "X: " + "x" * 300_000)):
        with connected(server) as raw:
            raw.sendall(asked + second)
            status, members, came = answered(raw)
        assert (status, members) == (200, {"result": 2})
        assert came.count(b"\r\n\r\n") == 1


# ------------------------------------------------------------------------- a side that is closed


def half_closed(server: Server, sent: bytes) -> bytes:
    """Send, close the sending side, and give all that comes."""
    with connected(server) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        came = b""
        while piece := raw.recv(65536):
            came += piece
    return came


@pytest.mark.parametrize("path", ["/health", "/api/v1/jobs", "/nope"])
def test_who_says_no_more_is_answered(server: Server, frida: Caller, path: str) -> None:
    """RFC 9112, 9.6; so `nc -N` and others work, whose end comes together with the request."""
    came = half_closed(server, head(server, "GET", path, f"Authorization: Bearer {frida.token}"))
    assert came.startswith(b"HTTP/1.1 404" if path == "/nope" else b"HTTP/1.1 200"), came


def test_who_says_no_more_is_asked_and_gets_the_answer_of_a_run(
    server: Server, frida: Caller
) -> None:
    """Interim answers (RFC 9110, 15.2) come before it, since nothing else shows who is gone."""
    began = time.monotonic()
    came = half_closed(server, run(server, frida, "nap", "Content-Length: 2") + b"{}")
    assert time.monotonic() - began >= NAP_S
    asked = came.count(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert 2 <= asked <= 10
    final = came.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    assert final.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(final.partition(b"\r\n\r\n")[2]) == {"result": 2}


def test_of_http_1_0_only_a_quick_answer_comes(server: Server, frida: Caller) -> None:
    """Nothing may be sent before it that would show whether there is anybody."""
    quick, nap = (
        run(server, frida, script, "Content-Length: 2").replace(b" HTTP/1.1", b" HTTP/1.0") + b"{}"
        for script in ("quick", "nap")
    )
    assert half_closed(server, quick).endswith(b'{"result":1}')
    assert half_closed(server, nap) == b""


def test_a_kept_connection_may_end_so(server: Server) -> None:
    with connected(server) as raw:
        raw.sendall(head(server, "GET", "/health"))
        assert first_answer(raw).startswith(b"HTTP/1.1 200")
        raw.sendall(head(server, "GET", "/health"))
        raw.shutdown(socket.SHUT_WR)
        status, _, _ = answered(raw)
    assert status == 200
