"""Addresses of machines, and which of them are safe to be led to by a name. No I/O."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

# Addresses that stand for an IPv4 address, whichever that is (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

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
    # What is tunnelled says in its address where it ends.
    tunnelled = isinstance(address, IPv6Address) and address.teredo is not None
    return address.is_global and not tunnelled
