"""A server that is called back, on this machine's loopback address."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What was received, and what is answered.

    Attributes:
        answers: statuses in order; the last one again and again; 0: no answer until `let_go`.
        headers: of every answer.
    """

    port: int = 0
    answers: Sequence[int] = (204,)
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?a=b%20c"


@contextmanager
def receiving(
    *,
    answers: Sequence[int] = (204,),
    headers: dict[str, str] | None = None,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """Listen for as long as the block runs; port 0: a free one."""
    receiver = Receiver(answers=answers, headers=headers or {})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.answers[min(len(receiver.received), len(receiver.answers) - 1)]
            receiver.received.append(Received(path=self.path, headers=told, body=body))
            if not status:
                receiver.let_go.wait(60)
                return
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  # the name that its base looks for

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Whoever called has gone, or did not like our certificate."""

    with Listener(("127.0.0.1", port), Handler) as listener:
        if tls is not None:
            listener.socket = tls.wrap_socket(
                listener.socket, server_side=True, do_handshake_on_connect=False
            )
        receiver.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.let_go.set()
            listener.shutdown()
            thread.join()
