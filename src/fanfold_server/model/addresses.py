"""Addresses of machines, and which of them are safe to be led to by a name. No I/O."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

# Addresses that stand for an IPv4 address, whichever that is (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

# Of those who choose what is behind; not every Python knows that they are nobody's elsewhere.
_PRIVATE = (IPv6Network("64:ff9b:1::/48"), IPv6Network("3fff::/20"), IPv6Network("5f00::/16"))

_OF_CLOUDS = frozenset({IPv4Address("168.63.129.16")})
"""Public by their number, and yet the machine beside: what it tells is a secret."""


def plain(address: IPAddress) -> IPAddress:
    """Return the IPv4 address for which one of IPv6 stands, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the internet's, and no machine beside this one."""
    address = plain(address)
    if address in _OF_CLOUDS or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return address.is_global
    is_private = any(address in range_ for range_ in _PRIVATE)
    return address.is_global and not is_private and address.teredo is None
