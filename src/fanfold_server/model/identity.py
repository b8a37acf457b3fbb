"""An identity provider of others: which one is trusted, and what its claims mean here. No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from fanfold_server.model.actor import Role

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
"""Signatures that may be admitted: those whose verifying key cannot sign."""

_PORTS: Final = range(1, 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which tokens are believed.

    Attributes:
        issuer: the provider's address, exactly as its tokens name it.
        audience: how its tokens name this server.
        algorithms: of signatures; some of `ALGORITHMS`.
        leeway_s: how far the provider's clock may be off, seconds, ≥ 0.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What is read from the claims of a token that is believed.

    Attributes:
        user: the claim with the account's name.
        roles_in: the claim with roles or groups; None: the account's own role holds.
        roles: role here by value there; who has none of the values is not let in.
    """

    user: str
    roles_in: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)

    def user_of(self, claims: Mapping[str, object]) -> str | None:
        """Give the name of the account, as the provider writes it."""
        found = claim(claims, self.user)
        return found if isinstance(found, str) else None

    def role_of(self, claims: Mapping[str, object], own: Role) -> Role | None:
        """Give the highest role that the claims speak for; None: none.

        Args:
            claims: of the token.
            own: the account's.
        """
        if self.roles_in is None:
            return own
        found = claim(claims, self.roles_in)
        values = found.split() if isinstance(found, str) else found
        if not isinstance(values, list):
            return None
        granted = {self.roles.get(value) for value in values if isinstance(value, str)}
        return next((role for role in (Role.ADMIN, Role.DEVELOPER) if role in granted), None)


def claim(claims: Mapping[str, object], name: str) -> object:
    """Find a claim by its name, or by its path through objects, `realm_access.roles`; or None."""
    if name in claims:
        return claims[name]
    found: object = claims
    for step in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def read_roles(entries: Iterable[str]) -> dict[str, Role]:
    """Read entries such as `data-scientists=developer`. Raises ValueError."""
    roles = {}
    for entry in entries:
        value, _, role = entry.rpartition("=")
        if not value or role not in set(Role):
            words = " or ".join(Role)
            raise ValueError(f'"{entry}" is not such as group=role, where the role is {words}')
        roles[value] = Role(role)
    return roles


def check_address(url: str) -> None:
    """Refuse an address of a provider that others could speak for.

    Raises:
        ValueError: it is none, or is reached without TLS and not on this machine.
    """
    parts = urlsplit(url)
    port = parts.port  # raises ValueError
    host = parts.hostname or ""
    if (
        parts.scheme not in {"https", "http"}
        or not host
        or parts.username is not None
        or parts.fragment
        or (port is not None and port not in _PORTS)
        or any(c.isspace() or not c.isprintable() for c in url)
    ):
        raise ValueError(f"{url[:200]!a} is not an address such as https://login.example.org")
    if parts.scheme == "http" and not is_this_machine(host):
        raise ValueError(
            f"{url[:200]!a} should begin with https://; http:// is for this machine alone"
        )


def is_this_machine(host: str) -> bool:
    """Say whether a host is this machine, whatever a name server says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: who knows
