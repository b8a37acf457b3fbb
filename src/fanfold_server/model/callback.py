"""Calling back: whom a server may tell of a job's end, and what came of telling him. No I/O.

A caller names the address, and the server reaches what the caller may not: so an operator lists the
hosts, and a name on the list may lead into a private network only if it is listed as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from fanfold_server.model.addresses import IPAddress, plain
from fanfold_server.model.errors import InvalidField
from fanfold_server.model.job import Job

FIELD = "callbackUrl"
MAX_URL = 2000

_ENTRY = re.compile(
    r"(?P<wild>\*\.)?(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>\d+))?"
)
_PORTS = {"https": 443, "http": 80}
_LOOPBACK_NAME = "localhost"
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a callback goes.

    Attributes:
        host: a name in lower case, or an address without brackets.
        path: with the query, as it was given.
        literal: the host stands in the list as it is, and not under a `*.`.
    """

    scheme: str
    host: str
    port: int
    path: str
    literal: bool

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def admits(self, address: IPAddress) -> bool:
        """Say whether the host may be at an address.

        Public ones always; private ones if the host is listed literally; what leads to the machine
        beside (link-local, where clouds tell secrets) only if the very address is listed; plain
        HTTP goes to this machine alone.
        """
        address = plain(address)
        if self.scheme == "http":
            return address.is_loopback
        if self.literal and _address(self.host) is not None:
            return True
        special = address.is_link_local or address.is_multicast or address.is_unspecified
        return not special and (self.literal or address.is_global)


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: int | None
    wild: bool

    def holds(self, host: str, port: int, usual: int) -> bool:
        if port != (usual if self.port is None else self.port):
            return False
        return host.endswith(f".{self.host}") if self.wild else host == self.host


class Hosts:
    """The hosts that may be called.

    Args:
        entries: `host`, `host:port` or `*.domain`; without a port, the scheme's usual one is meant.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = tuple(map(_entry, entries))

    def __bool__(self) -> bool:
        return bool(self._entries)

    def target(self, url: str) -> Target:
        """Find out where an address leads.

        Raises:
            InvalidField: it is no address, or leads where this server does not call.
        """
        if not self._entries:
            raise _refused(
                "is not available: this server calls nobody, until its operator lists hosts in the "
                'setting "callback_hosts"'
            )
        scheme, host, port, path = _parts(url)
        usual = _PORTS[scheme]
        found = [entry for entry in self._entries if entry.holds(host, port, usual)]
        if not found:
            where = host if port == usual else f"{host}:{port}"
            raise _refused(
                f'names the host "{where}", which this server does not call: its operator can list '
                'it in the setting "callback_hosts"'
            )
        target = Target(
            scheme=scheme,
            host=host,
            port=port,
            path=path,
            literal=any(not entry.wild for entry in found),
        )
        if scheme == "http" and not _is_loopback(host):
            raise _refused("should begin with https://; http:// is for this machine alone")
        return target


def _entry(text: str) -> _Entry:
    found = _ENTRY.fullmatch(text.strip().lower())
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port <= _MAX_PORT):
        raise ValueError(f'"{text}" is no host such as hooks.example.org, host:8443 or *.domain')
    return _Entry(host=found["host"].strip("[]"), port=port, wild=bool(found["wild"]))


def _parts(url: str) -> tuple[str, str, int, str]:
    """Take an address apart. What parsers read differently is refused."""
    wanted = "should be an address such as https://hooks.example.org/fanfold"
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>'):
        raise _refused(wanted)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused(wanted) from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or "#" in url or port == 0:
        raise _refused(wanted)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, _PORTS[parts.scheme] if port is None else port, path


def _refused(words: str) -> InvalidField:
    return InvalidField(f'The member "{FIELD}" {words}.', field=FIELD)


def _address(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == _LOOPBACK_NAME if address is None else address.is_loopback


class DeliveryState(StrEnum):
    """Whether somebody has been told: not yet, yes, or never will be."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The news of a job's end on its way.

    Attributes:
        id: the same at every attempt: whoever was told twice can tell.
        attempts: how often it was tried, the one under way included.
        due: when it is tried again, while it waits.
        last: when the last attempt ended; None before the first.
        status: what the last attempt was answered; None if there was no answer.
        error: why the last attempt failed.
    """

    id: str
    job: str
    url: str
    state: DeliveryState
    attempts: int
    created: datetime
    due: datetime
    last: datetime | None = None
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A delivery that is to be tried now.

    Attributes:
        job: which has ended; its source is not loaded.
        fence: counts the attempts; what comes of an older one is not recorded.
    """

    job: Job
    fence: int


def delivery_id(job: str) -> str:
    """Return what a job's delivery is called: there is one of each job."""
    return f"msg_{job}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """With what an account's callbacks are signed.

    Attributes:
        keys: the present one, and for a while the one before it; each of 32 bytes.
        rotated: since when the present one is valid.
    """

    keys: Sequence[bytes]
    rotated: datetime
