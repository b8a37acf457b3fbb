"""The least client: one keep-alive connection, blocking, and `wrk` for many."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWER_LIMIT_S = 150
_RECEIVE_BYTES = 1 << 18
_Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a peer: `body` is sent as JSON, or else `content` as it is."""

    path: str
    body: Any = None
    content: bytes = b""
    method: str = "POST"
    headers: _Headers = ()

    @property
    def text(self) -> str:
        return "" if self.body is None else json.dumps(self.body)

    def raw(self) -> bytes:
        body = self.content or self.text.encode()
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            "Host: localhost",
            *([] if self.content else ["Content-Type: application/json"]),
            "Accept: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One keep-alive connection; made anew when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body."""
        fresh = self._socket is None
        try:
            return self._ask(raw)
        except ConnectionError:
            self.close()
            if fresh:
                raise
            return self._ask(raw)

    def _ask(self, raw: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), ANSWER_LIMIT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(raw)
        return self._answer(self._socket)

    def _answer(self, sock: socket.socket) -> tuple[int, bytes]:
        data = _more(sock)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _more(sock)
        head = data[:end].lower()
        body = data[end + 4 :]
        at = head.find(b"content-length:")
        if at >= 0:
            body = _exactly(sock, body, int(head[at + 15 :].split(b"\r", 1)[0]))
        elif b"chunked" in head:
            body = _chunks(sock, bytearray(body))
        if b"connection: close" in head:
            self.close()
        return int(data[9:12]), body


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(_RECEIVE_BYTES)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def _exactly(sock: socket.socket, body: bytes, size: int) -> bytes:
    if len(body) >= size:
        return body
    whole = bytearray(size)
    whole[: len(body)] = body
    view, got = memoryview(whole), len(body)
    while got < size:
        count = sock.recv_into(view[got:])
        if not count:
            raise ConnectionError("the server closed the connection")
        got += count
    return bytes(whole)


def _chunks(sock: socket.socket, raw: bytearray) -> bytes:
    pieces, at = [], 0
    while True:
        while (end := raw.find(b"\r\n", at)) < 0:
            raw += _more(sock)
        size = int(bytes(raw[at:end]).split(b";")[0], 16)
        while len(raw) < end + size + 4:
            raw += _more(sock)
        pieces.append(bytes(raw[end + 2 : end + 2 + size]))
        at = end + size + 4
        if not size:
            return b"".join(pieces)


def wait_until_answered(port: int, request: Request, *, good: range, limit_s: float = 90) -> None:
    """Ask again and again until the answer's status is in `good`."""
    raw, last = request.raw(), "no answer"
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        connection = Connection(port)
        try:
            status, body = connection.ask(raw)
            if status in good:
                return
            last = f"{status} {body[:200]!r}"
        except OSError as exc:
            last = repr(exc)
        finally:
            connection.close()
        time.sleep(0.01)
    raise TimeoutError(f"port {port} is not ready after {limit_s:g} s: {last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk measured; times in ms."""

    rps: float
    p50_ms: float
    p99_ms: float
    errors: int


_LUA = """
wrk.method = {method}
wrk.body = {body}
{headers}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('JSON {{"rps":%f,"p50_ms":%f,"p99_ms":%f,"errors":%d}}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.timeout + e.read + e.connect + e.write))
end
"""


def load(port: int, request: Request, *, clients: int, seconds: int, scratch: Path) -> Load:
    """Send the request from `clients` connections at once, each as soon as it has its answer."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise FileNotFoundError("wrk is not installed; run bench/setup.sh")
    headers = (("Content-Type", "application/json"), *request.headers)
    script = scratch / "wrk.lua"
    script.write_text(
        _LUA.format(
            method=json.dumps(request.method),
            body=json.dumps(request.text),
            headers="\n".join(
                f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers
            ),
        )
    )
    url = f"http://127.0.0.1:{port}{request.path}"
    options = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run(
        [wrk, *options, url], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith("JSON "):
            return Load(**json.loads(line[5:]))
    raise RuntimeError(done.stdout + done.stderr)
