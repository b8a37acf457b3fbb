import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.client import Connection, Request
from bench.functions import sources


@contextmanager
def serving(*answers: list[bytes]) -> Iterator[int]:
    """Serve connections, one after another: each gets its list of answers, one a request."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for mine in answers:
                connection, _ = server.accept()
                with connection:
                    for answer in mine:
                        connection.recv(1 << 16)
                        for at in range(0, len(answer), 7):  # in pieces, as networks do
                            connection.sendall(answer[at : at + 7])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(100)


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"result":[49]}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'b\r\n{"result":[\r\n4;x=y\r\n49]}\r\n0\r\n\r\n'
)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_an_answer_is_read_whole_and_the_connection_kept(answer: bytes) -> None:
    with serving([answer, answer]) as port:
        connection = Connection(port)
        for _ in range(2):
            assert connection.ask(Request(path="/").raw()) == (200, b'{"result":[49]}')
        connection.close()


def test_a_connection_that_the_server_closed_is_made_anew_once() -> None:
    """A server may close a connection that was idle while its peer was measured."""
    with serving([SIZED], [SIZED]) as port:
        connection = Connection(port)
        for _ in range(2):
            assert connection.ask(Request(path="/").raw())[0] == 200
        connection.close()


def test_a_request_says_how_long_its_body_is() -> None:
    request = Request(path="/x", body={"name": "é"}, headers=(("Authorization", "Bearer t"),))
    head, _, body = request.raw().partition(b"\r\n\r\n")
    assert json.loads(body) == {"name": "é"}
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert b"Authorization: Bearer t" in head.split(b"\r\n")


def test_the_stored_functions_stand_alone() -> None:
    """A server stores the text of one function, not the module that it comes from."""
    for name, source in sources().items():
        namespace: dict[str, object] = {}
        exec(source, namespace)  # noqa: S102 (ours)
        assert callable(namespace[name])
