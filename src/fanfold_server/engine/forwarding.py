"""What the proxy does for one sandbox: accept, hold against the list, look up, connect, pass on.

HTTP is parsed by httptools. Clients say CONNECT (for TLS), and everything is passed on; or they
send a request for http:// as it is meant for proxies: then that one is passed on, and the
connection closed after its answer, since the next could be for another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from typing import Final

import httptools

from fanfold_server.model.addresses import IPAddress, plain
from fanfold_server.model.network import Network

MAX_CONNECTIONS: Final = 128
"""Of one sandbox, at once."""

HEAD_BYTES: Final = 64 * 1024
HEAD_S, LOOKUP_S, CONNECT_S, IDLE_S = 30.0, 10.0, 10.0, 300.0
ADDRESSES: Final = 3
"""So many addresses of a host are tried at most."""

_PIECE: Final = 64 * 1024
_WITHIN: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+):(\d{1,5})", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)
_WEB: Final = 80
_MAX_PORT: Final = 65_535
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOP: Final = frozenset(
    {b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"trailer",
     b"upgrade", b"transfer-encoding", b"host", b"expect"}
)  # fmt: skip
"""Headers that are meant for us, or that we write ourselves."""


class Refused(Exception):
    """A request that goes no further; the reason is what clients show, so it says everything."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Message:
    """One request, as the parser tells of it."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.is_complete = False
        self.is_followed = False

    def on_message_begin(self) -> None:
        self.is_followed = self.is_complete

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True

    def named(self, name: bytes) -> list[bytes]:
        """Give the values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class Outlet:
    """The socket of one sandbox, and the hosts that it leads to."""

    def __init__(self, listener: socket.socket, network: Network) -> None:
        self._listener = listener
        self._network = network
        self._server: asyncio.Server | None = None
        self._is_closed = False
        self._going: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept whoever connects, unless it has been closed meanwhile."""
        if self._is_closed:
            self._listener.close()
            return
        self._server = await asyncio.start_server(
            self._accepted, sock=self._listener, limit=HEAD_BYTES
        )
        if self._is_closed:
            self._server.close()

    def close(self) -> None:
        """Accept nobody any more, and end what is under way."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for task in self._going:
            task.cancel()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._going.add(task)
        try:
            if len(self._going) > MAX_CONNECTIONS:
                raise Refused(503, f"More than {MAX_CONNECTIONS} connections at once")
            await self._serve(reader, writer)
        except Refused as exc:
            writer.write(_answer(exc))
            with contextlib.suppress(OSError):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # one of both ends has gone, or says nothing: the other sees the end
        finally:
            self._going.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise Refused(431, f"More than {HEAD_BYTES} bytes of headers") from None
        message = Message()
        parser = httptools.HttpRequestParser(message)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            message.is_complete = True
        except httptools.HttpParserError:
            raise Refused(400, "This is a proxy for HTTP, and that was none") from None
        method = parser.get_method()
        if method == b"CONNECT":
            host, port = _authority(message.url.decode("latin-1"))
            far_reader, far = await self._reach(host, port)
            with contextlib.closing(far):
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await _join(_Pipe(reader, far), _Pipe(far_reader, writer))
            return
        host, port, path = _target(message.url)
        far_reader, far = await self._reach(host, port)
        with contextlib.closing(far):
            name = f"[{host}]" if ":" in host else host
            authority = name if port == _WEB else f"{name}:{port}"
            far.write(_head(method, path, authority, message))
            await _join(_Body(reader, far, message, parser), _Pipe(far_reader, writer), alone=True)

    async def _reach(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a host that is on the list, at an address where it may be.

        Raises:
            Refused: it is not, or it cannot be reached.
        """
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not self._network.admits(host, port):
            raise Refused(403, f"{where} is not on the allow-list of this function")
        why = Refused(502, f"{where} could not be connected to")
        for address in (await self._addresses(host, port, where))[:ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(str(address), port, limit=_PIECE)
            except TimeoutError:
                why = Refused(504, f"{where} could not be connected to within {CONNECT_S:g} s")
            except OSError:
                continue
        raise why

    async def _addresses(self, host: str, port: int, where: str) -> list[IPAddress]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            raise Refused(502, f"The name {host} is unknown") from None
        known = dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found)
        admitted = [address for address in known if self._may_be_at(address, port)]
        if not admitted:
            raise Refused(403, f"{where} is at no public address, and its own is not listed")
        return admitted

    def _may_be_at(self, address: IPAddress, port: int) -> bool:
        """Tell whether a listed host may be there: in the internet, or where the list says.

        This machine may have a public address: what listens there is reached by that alone.
        """
        if self._network.names_address(address, port):
            return True
        return self._network.leads_to(address, port) and not _is_own(plain(address))


class _Pipe:
    """What is copied from one end to the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def run(self, idle: asyncio.Timeout) -> None:
        while data := await self._reader.read(_PIECE):
            await self._pass(data, idle)
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def _pass(self, data: bytes, idle: asyncio.Timeout) -> None:
        idle.reschedule(asyncio.get_running_loop().time() + IDLE_S)
        self._writer.write(data)
        await self._writer.drain()


class _Body(_Pipe):
    """The body of one request, and nothing after it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        message: Message,
        parser: httptools.HttpRequestParser,
    ) -> None:
        super().__init__(reader, writer)
        self._message = message
        self._parser = parser
        self._is_chunked = _is_chunked(message)

    async def run(self, idle: asyncio.Timeout) -> None:
        message = self._message
        while not message.is_complete:
            data = await self._reader.read(_PIECE)
            if not data:
                raise ConnectionResetError
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                raise ConnectionResetError from None
            body, message.pieces = b"".join(message.pieces), []
            if body:
                head = b"%x\r\n" % len(body) if self._is_chunked else b""
                await self._pass(head + body + (b"\r\n" if head else b""), idle)
        if self._is_chunked:
            await self._pass(b"0\r\n\r\n", idle)
        # A client that asks for more on this connection has to make another one.
        if message.is_followed or await self._reader.read(1):
            raise ConnectionResetError


async def _join(there: _Pipe, back: _Pipe, *, alone: bool = False) -> None:
    """Copy both ways until both have ended; `alone`: until the way back has."""
    async with asyncio.timeout(IDLE_S) as idle:
        going = asyncio.ensure_future(there.run(idle))
        try:
            await back.run(idle)
            if not alone:
                await going
        finally:
            going.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await going


def _authority(text: str) -> tuple[str, int]:
    found = _WITHIN.fullmatch(text.lower())
    if found is None or not 0 < int(found[2]) <= _MAX_PORT:
        raise Refused(400, "CONNECT wants HOST:PORT")
    return found[1].strip("[]").rstrip("."), int(found[2])


def _target(url: bytes) -> tuple[str, int, bytes]:
    """Take the address of a request apart."""
    wanted = Refused(400, "A request to a proxy begins with http://HOST; for https:// use CONNECT")
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise wanted from None
    host = (parts.host or b"").decode("latin-1").lower().rstrip(".")
    if (parts.schema or b"").lower() != b"http" or parts.userinfo or not _NAME.fullmatch(host):
        raise wanted
    path = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    return host, parts.port or _WEB, path


def _head(method: bytes, path: bytes, authority: str, message: Message) -> bytes:
    """Write the request as its host is to see it."""
    ours = {
        name.strip().lower() for each in message.named(b"connection") for name in each.split(b",")
    }
    lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: " + authority.encode()]
    for name, value in message.headers:
        if name.lower() not in _HOP and name.lower() not in ours and _TOKEN.fullmatch(name):
            lines.append(name + b": " + value)
    if _is_chunked(message):
        lines.append(b"Transfer-Encoding: chunked")
    lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_chunked(message: Message) -> bool:
    return bool(message.named(b"transfer-encoding"))


def _answer(refused: Refused) -> bytes:
    body = (refused.reason + "\n").encode("ascii", "replace")
    head = (
        f"HTTP/1.1 {refused.status} {refused.reason}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii", "replace") + body


def _is_own(address: IPAddress) -> bool:
    """Tell whether an address is one of this machine's: it then is the one to send from."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # sends nothing
        except OSError:
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address
