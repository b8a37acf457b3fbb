"""`Post` over the network.

The name of a host is looked up here, once, and one of the addresses that were checked is connected
to: a second look-up could say something else. TLS is spoken with the name all the same.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address

import httpx2

from fanfold_server.callbacks.port import NotDelivered
from fanfold_server.model.addresses import IPAddress
from fanfold_server.model.callback import Target

CONNECT_S, ANSWER_S = 5.0, 10.0
ADDRESSES = 3
"""So many addresses of a host are tried at most."""


@asynccontextmanager
async def open_post(at_once: int) -> AsyncIterator[HttpPost]:
    """Open what sends, for up to `at_once` messages at the same time."""
    # No connection is used twice: two hosts may be at one address.
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=0)
    async with httpx2.AsyncHTTPTransport(
        verify=ssl.create_default_context(), trust_env=False, limits=limits
    ) as transport:
        yield HttpPost(transport)


class HttpPost:
    """`Post`; see `open_post`."""

    def __init__(self, transport: httpx2.AsyncHTTPTransport) -> None:
        self._transport = transport

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        refusal = NotDelivered("it could not be connected to")
        for address in (await _addresses(target))[:ADDRESSES]:
            try:
                return await self._send(target, address, headers, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
                refusal = NotDelivered(_words(exc))
            except httpx2.HTTPError as exc:
                raise NotDelivered(_words(exc)) from exc
        raise refusal

    async def _send(
        self, target: Target, address: IPAddress, headers: Mapping[str, str], body: bytes
    ) -> int:
        host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
        request = httpx2.Request(
            "POST",
            f"{target.scheme}://{host}:{target.port}{target.path}",
            headers={"Host": target.authority, "Connection": "close", **headers},
            content=body,
            extensions={
                "sni_hostname": target.host,
                "timeout": httpx2.Timeout(ANSWER_S, connect=CONNECT_S).as_dict(),
            },
        )
        answer = await self._transport.handle_async_request(request)
        await answer.aclose()
        return answer.status_code


async def _addresses(target: Target) -> list[IPAddress]:
    """Look up where a host is. Raises NotDelivered: nowhere, or where it may not be."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise NotDelivered("its name is unknown") from exc
    addresses = [ip_address(entry[4][0]) for entry in found]
    admitted = [address for address in addresses if target.admits(address)]
    if not admitted:
        raise NotDelivered("its address is not a public one")
    return admitted


def _words(exc: httpx2.HTTPError) -> str:
    """Say what went wrong, without addresses and whatever the other side has written."""
    match exc:
        case httpx2.ConnectTimeout():
            return f"it could not be connected to within {CONNECT_S:g} s"
        case httpx2.TimeoutException():
            return f"it did not answer within {ANSWER_S:g} s"
        case httpx2.ConnectError() if "CERTIFICATE" in str(exc).upper():
            return "its certificate is not valid"
        case httpx2.ConnectError():
            return "it could not be connected to"
        case _:
            return "it did not answer in HTTP"
