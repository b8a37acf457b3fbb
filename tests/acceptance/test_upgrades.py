"""Clients that offer another protocol with their request, as Java's HttpClient does with each."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import Caller, Server

OFFERS = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAI"),
    "websocket": ("Connection: keep-alive, Upgrade", "Upgrade: websocket"),
    "no connection": ("Upgrade: h2c",),
}
RUN = "/oml/api/py-scripts/v2/do-eval/offered"


@pytest.fixture(scope="module")
def echo(alice: Caller) -> Caller:
    alice.store("offered", "def offered(n):\n    return n\n")
    return alice


def request(caller: Caller, number: int, *lines: str, in_chunks: bool = False) -> bytes:
    body = json.dumps({"parameters": json.dumps({"n": number})}).encode()
    length = "Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}"
    head = [f"POST {RUN} HTTP/1.1", "Host: a", f"Authorization: Bearer {caller.token}", length]
    if in_chunks:
        body = b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in (body[:9], body[9:], b""))
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def answers(server: Server, count: int, *pieces: bytes) -> list[tuple[int, object]]:
    """Send pieces on one connection; gives status and body of so many answers."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as raw:
        for piece in pieces:
            raw.sendall(piece)
        stream = raw.makefile("rb")
        found = []
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = http.client.parse_headers(stream)
            found.append((status, json.loads(stream.read(int(headers["content-length"] or 0)))))
        return found


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_a_request_keeps_its_body(
    server: Server, echo: Caller, offer: str, *, in_chunks: bool
) -> None:
    """A run that has lost its body is a run without parameters: it may well succeed."""
    sent = request(echo, 5, *OFFERS[offer], in_chunks=in_chunks)
    assert answers(server, 1, sent) == [(200, {"result": 5})]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_requests_on_a_connection_keep_their_order_however_they_are_cut(
    server: Server, echo: Caller, size: int
) -> None:
    """Some of them offer, some do not; each is read whole, and nothing of the next with it."""
    sent = b"".join(request(echo, n, *(OFFERS["h2c"] if n % 2 else ())) for n in range(6))
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert answers(server, 6, *pieces) == [(200, {"result": n}) for n in range(6)]


def test_a_request_without_a_body_is_answered(server: Server) -> None:
    sent = "\r\n".join(["GET /health HTTP/1.1", "Host: a", *OFFERS["h2c"], "", ""]).encode()
    [(status, members)] = answers(server, 1, sent)
    assert status == 200
    assert isinstance(members, dict)
    assert members["ready"]
