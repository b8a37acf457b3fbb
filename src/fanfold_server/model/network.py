"""What of the network functions may reach: the policy as data. No I/O.

The operator says what the functions of an environment may reach. An administrator may grant more to
a script, and the script's owner may want less. What is in force is

    (the environment's + what is granted to the script), limited to what its owner wants

so that neither has to know of the other's decision, and no owner can widen what he was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from fanfold_server.model.addresses import IPAddress, is_public, plain

MAX_HOSTS = 200
"""Of one list, as it is written."""

WEB_PORTS = (80, 443)
"""What is meant where no port is said."""

EVERY = "*"
"""Stands for all environments."""

_MAX_PORT = 65_535
_REMEMBERED = 1_000
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ENTRY = re.compile(r"(?P<host>\[[0-9a-f:./]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?", re.ASCII)

_Range = IPv4Network | IPv6Network


class Reach(StrEnum):
    """How far: nowhere; to listed hosts, through a proxy; wherever the host itself does."""

    NONE = "none"
    LISTED = "allow-list"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Place:
    """Whom one entry of a list lets in: a name, what is below a name, or a range of addresses."""

    name: str
    range: _Range | None
    port: int

    def __str__(self) -> str:
        """Write it as it could have been given."""
        if self.range is None:
            return f"{self.name}:{self.port}"
        only = self.range.num_addresses == 1
        text = str(self.range.network_address if only else self.range)
        return f"[{text}]:{self.port}" if self.range.version == 6 else f"{text}:{self.port}"  # noqa: PLR2004

    def admits_name(self, name: str, port: int) -> bool:
        if self.range is not None or port != self.port:
            return False
        return name.endswith(self.name[1:]) if self.name[0] == "*" else name == self.name

    def admits_address(self, address: IPAddress, port: int) -> bool:
        return self.range is not None and port == self.port and address in self.range

    def meet(self, other: Place) -> Place | None:
        """Return what both let in; None: nothing. Of two such, one always holds the other."""
        if self.port != other.port:
            return None
        for one, two in ((self, other), (other, self)):
            if one.range is None and two.range is None:
                inside = two.name == one.name or (
                    one.name[0] == "*" and two.name.endswith(one.name[1:])
                )
                if inside:
                    return two
            elif one.range is not None and two.range is not None and _holds(one.range, two.range):
                return two
        return None


@dataclass(frozen=True, slots=True)
class Network:
    """What may be reached.

    Attributes:
        hosts: what the list holds, in order, each once; empty unless `reach` is LISTED.
        label: one text for each policy: what tells workers of one policy from those of another.
    """

    reach: Reach
    hosts: tuple[Place, ...] = ()
    label: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Write the label; a hash of it is kept with it, so that looking up costs nothing."""
        object.__setattr__(self, "label", " ".join([self.reach.value, *map(str, self.hosts)]))

    def admits(self, host: str, port: int) -> bool:
        """Say whether a list names a host: by its name, in lower case, or by its address."""
        address = _address(host)
        if address is None:
            return any(place.admits_name(host, port) for place in self.hosts)
        return self.names_address(address, port)

    def leads_to(self, address: IPAddress, port: int) -> bool:
        """Say whether a host that is listed may be at an address.

        Names change what they stand for, at the will of whoever owns them: a name on the list leads
        to the internet alone, unless the address stands in the list, too.
        """
        return is_public(address) or self.names_address(address, port)

    def names_address(self, address: IPAddress, port: int) -> bool:
        """Say whether an address stands in the list itself."""
        return any(place.admits_address(plain(address), port) for place in self.hosts)

    def with_more(self, other: Network) -> Network:
        """Return what one or the other lets through."""
        if Reach.FULL in {self.reach, other.reach}:
            return EVERYTHING
        return _listed(self.hosts + other.hosts)

    def with_less(self, other: Network) -> Network:
        """Return what both let through."""
        if self.reach is Reach.FULL:
            return other
        if other.reach is Reach.FULL:
            return self
        met = (one.meet(two) for one in self.hosts for two in other.hosts)
        return _listed([place for place in met if place is not None])


NOTHING = Network(Reach.NONE)
EVERYTHING = Network(Reach.FULL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptNetwork:
    """What has been decided of one script, in all its versions.

    Attributes:
        grant: what an administrator lets it reach besides; None: nothing.
        limit: what its owner keeps it to; None: whatever it may.
    """

    grant: Network | None = None
    limit: Network | None = None


class Networks:
    """What the functions of each environment may reach, as the operator says.

    Args:
        full: names of environments with the whole network; "*" for all.
        hosts: "HOST", which all may reach, or "ENVIRONMENT=HOST"; see `places_of`.

    Raises:
        ValueError: an entry of `hosts` is none.
    """

    def __init__(self, full: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        self.full = frozenset(full)
        entries: dict[str, list[str]] = {}
        for entry in hosts:
            name, sign, host = entry.partition("=")
            entries.setdefault(name.strip() if sign else EVERY, []).append(host if sign else name)
        self.listed: Mapping[str, Network] = {
            name: listed(texts) for name, texts in sorted(entries.items())
        }
        self._known: dict[tuple[str, str, str], Network] = {}

    @property
    def names(self) -> list[str]:
        """The environments that the operator speaks of; "*" stands for the others."""
        return sorted({EVERY, *self.full, *self.listed})

    def of(self, environment: str, script: ScriptNetwork | None = None) -> Network:
        """Say what a script may reach in an environment; without one, what any script may."""
        grant, limit = NOTHING, EVERYTHING
        if script is not None:
            grant, limit = script.grant or NOTHING, script.limit or EVERYTHING
        key = (environment, grant.label, limit.label)
        found = self._known.get(key)
        if found is None:
            found = self._of_environment(environment).with_more(grant).with_less(limit)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = found
        return found

    def _of_environment(self, name: str) -> Network:
        if EVERY in self.full or name in self.full:
            return EVERYTHING
        nothing = NOTHING
        return self.listed.get(EVERY, nothing).with_more(self.listed.get(name, nothing))


def listed(hosts: Iterable[str]) -> Network:
    """Make the policy that lets these hosts through; without any, none.

    Raises:
        ValueError: see `places_of`.
    """
    return _listed([place for host in hosts for place in places_of(host)])


def host_list(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Give the entries back that `Networks` takes. Raises ValueError: one is none."""
    Networks(hosts=entries)
    return entries


def places_of(text: str) -> list[Place]:
    """Read an entry of a list: `host`, `*.domain`, an address or a range of them, with its port.

    Without a port, those of HTTP and HTTPS are meant. An IPv6 address stands in brackets.

    >>> list(map(str, places_of("api.example.org")))
    ['api.example.org:80', 'api.example.org:443']
    >>> list(map(str, places_of("10.1.0.0/16:5432")))
    ['10.1.0.0/16:5432']

    Raises:
        ValueError: it is nothing of the kind.
    """
    text = text.strip()
    found = _ENTRY.fullmatch(text.lower().rstrip("."))
    if found is None:
        raise _wrong(text)
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 0 < port <= _MAX_PORT:
        raise _wrong(text)
    host = found["host"].strip("[]").rstrip(".")
    try:
        span: _Range | None = ip_network(host, strict=False)
    except ValueError:
        if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
            raise _wrong(text) from None
        span = None
    name = host if span is None else str(span)
    return [Place(name, span, each) for each in (WEB_PORTS if port is None else (port,))]


def _wrong(text: str) -> ValueError:
    return ValueError(
        f'"{text}" is no host such as api.example.org, api.example.org:8443, *.example.org, '
        "10.1.2.3:8080, 10.1.0.0/16:8080 or [fd00::1]:8080"
    )


def _listed(places: Iterable[Place]) -> Network:
    """Make the policy of a list; what another entry holds already is left out."""
    kept: list[Place] = []
    for place in dict.fromkeys(places):
        if any(other.meet(place) == place for other in kept):
            continue
        kept = [other for other in kept if place.meet(other) != other]
        kept.append(place)
    if not kept:
        return NOTHING
    return Network(Reach.LISTED, tuple(sorted(kept, key=str)))


def _address(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _holds(outer: _Range, inner: _Range) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
