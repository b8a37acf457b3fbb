"""Whatever is said to the proxy: nothing but what is listed is connected to, and it goes on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold_server.engine.forwarding import MAX_CONNECTIONS, Outlet
from fanfold_server.engine.ladder import IsolationMissing
from fanfold_server.model.environment import Environment
from fanfold_server.model.network import ScriptNetwork, listed
from tests.runtime.bench import ladder, opened

LIMIT_S = 60.0
LISTED = b"a listed host"


class Hosts:
    """A listed host and one that is not, and an outlet to the former."""

    def __init__(self) -> None:
        self.listed_port = self.other_port = self.port = 0
        self.strangers = 0

    async def __aenter__(self) -> Self:
        self._listed = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._other = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.listed_port = self._listed.sockets[0].getsockname()[1]
        self.other_port = self._other.sockets[0].getsockname()[1]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        places = [f"127.0.0.1:{self.listed_port}", f"localhost:{self.other_port}"]
        self._outlet = Outlet(listener, listed(places))
        await self._outlet.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._outlet.close()
        for server in (self._listed, self._other):
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + LISTED)
        writer.close()

    async def _count(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.strangers += 1
        writer.close()

    async def say(self, *pieces: bytes) -> bytes:
        """Say something to the proxy, and nothing more; return what it answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(LIMIT_S):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def test_an_outlet_that_is_closed_while_it_opens_stays_closed() -> None:
    """Both may come in one message: nobody would close it later."""
    for moment in range(3):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        outlet = Outlet(listener, listed(["localhost"]))
        opening = asyncio.ensure_future(outlet.open())
        for _ in range(moment):
            await asyncio.sleep(0)
        outlet.close()
        await opening
        assert listener.fileno() == -1


METHODS = st.sampled_from([b"GET", b"POST", b"CONNECT", b"connect", b"HEAD", b"PRI", b"\xff", b""])
PLACES = st.sampled_from(
    [b"127.0.0.1:%(listed)d", b"127.0.0.1:%(other)d", b"localhost:%(other)d", b"localhost",
     b"[::1]:%(other)d", b"[::ffff:127.0.0.1]:%(other)d", b"0:%(other)d", b"2130706433:%(other)d",
     b"127.1:%(other)d", b"127.0.0.1:%(listed)d@127.0.0.1:%(other)d", b"", b":%(other)d",
     b"127.0.0.1:%(listed)d:%(other)d", b"127.0.0.1:0%(other)d", b"127.0.0.1.:%(other)d"]
)  # fmt: skip
FORMS = st.sampled_from(
    [b"%s", b"http://%s/", b"//%s", b"https://%s/", b"http://%s", b"HTTP://%s/?"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"x"])
HEADERS = st.lists(
    st.sampled_from(
        [b"Host: 127.0.0.1:%(other)d", b"Content-Length: 5", b"Content-Length: 6",
         b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", b"Connection: close, host",
         b"Upgrade: h2c", b" folded", b"no colon", b"X: \x00", b"Proxy-Connection: keep-alive",
         b"Expect: 100-continue"]
    ),
    max_size=4,
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n",
     b"GET http://127.0.0.1:%(other)d/ HTTP/1.1\r\n\r\n",
     b"0\r\n\r\nCONNECT localhost:%(other)d HTTP/1.1\r\n\r\n"]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n", b"\n", b"\r"])


@st.composite
def requests(draw: st.DrawFn) -> Callable[[Hosts], bytes]:
    """Draw something like a request to a proxy; the ports are filled in when they are known."""
    end = draw(ENDS)
    target = draw(FORMS).replace(b"%s", draw(PLACES))
    head = [b" ".join([draw(METHODS), target, draw(VERSIONS)]), *draw(HEADERS), b"", b""]
    text = end.join(head) + draw(BODIES)

    def filled(hosts: Hosts) -> bytes:
        listed_port, other_port = str(hosts.listed_port), str(hosts.other_port)
        with_listed = text.replace(b"%(listed)d", listed_port.encode())
        return with_listed.replace(b"%(other)d", other_port.encode())

    return filled


@settings(max_examples=150, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3), st.binary(max_size=40))
def test_nothing_but_what_is_listed_is_connected_to(
    said: list[Callable[[Hosts], bytes]], noise: bytes
) -> None:
    """Also not "localhost", which is on the list and leads where no name may lead."""

    async def converse() -> None:
        async with Hosts() as hosts:
            answer = await hosts.say(*(each(hosts) for each in said))
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            noisy = await hosts.say(noise)
            assert noisy == b"" or noisy.startswith(b"HTTP/1.1 4")
            request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % hosts.listed_port
            assert (await hosts.say(request)).endswith(LISTED)
            assert hosts.strangers == 0

    asyncio.run(converse())


def test_one_sandbox_has_so_many_connections_and_no_more() -> None:
    """Those that are there go on, and the one too many is told why it is not served."""

    async def crowd() -> None:
        async with Hosts() as hosts:
            held = [
                await asyncio.open_connection("127.0.0.1", hosts.port)
                for _ in range(MAX_CONNECTIONS)
            ]
            assert (await hosts.say(b"")).startswith(b"HTTP/1.1 503 More than")
            for _, writer in held[:2]:
                writer.close()
            request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % hosts.listed_port
            async with asyncio.timeout(LIMIT_S):
                while not (await hosts.say(request)).endswith(LISTED):
                    pass  # until the proxy has seen that they are gone
            for _, writer in held:
                writer.close()

    asyncio.run(crowd())


def test_an_engine_with_a_way_out_leaves_nothing_open(
    libraries: Environment, tmp_path: Path
) -> None:
    """Neither processes nor descriptors; the other tests of ways out share an engine."""
    try:
        ladder("bwrap", libraries.prefix)
    except IsolationMissing as exc:
        pytest.skip(f"lists need bwrap: {exc}")
    networks = [ScriptNetwork(grant=listed([f"{name}.example"])) for name in ("a", "b")]
    source = "import os\ndef f(i): return bool(os.environ['http_proxy'])"
    with opened(libraries, tmp_path, alone=True, isolation="bwrap", preload=()) as engine:
        for network in networks:
            assert engine.run(source, network=network).value is True
