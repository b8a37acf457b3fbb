"""Whom a server calls: what an operator lists, and nobody else, wherever a name leads."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.callback import Hosts, Target
from fanfold_server.model.errors import InvalidField

LISTED = Hosts(
    ["hooks.example.org", "other.example.org:8443", "*.wild.example", "127.0.0.1:9000",
     "LOCALHOST:9001", "[::1]:9002", "10.0.0.5", "169.254.7.7"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("url", "host", "port", "literal"),
    [
        ("https://hooks.example.org/x?y=1", "hooks.example.org", 443, True),
        ("https://HOOKS.Example.org", "hooks.example.org", 443, True),
        ("https://other.example.org:8443/", "other.example.org", 8443, True),
        ("https://a.wild.example/", "a.wild.example", 443, False),
        ("https://a.b.wild.example/", "a.b.wild.example", 443, False),
        ("http://127.0.0.1:9000/", "127.0.0.1", 9000, True),
        ("http://localhost:9001/", "localhost", 9001, True),
        ("http://[::1]:9002/", "::1", 9002, True),
        ("https://10.0.0.5/", "10.0.0.5", 443, True),
    ],
)
def test_what_is_listed_is_called(url: str, host: str, port: int, literal: bool) -> None:
    target = LISTED.target(url)
    assert (target.host, target.port, target.literal) == (host, port, literal)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "//hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "http://hooks.example.org/",  # in the clear
        "http://10.0.0.5/",
        "https://hooks.example.org:8443/",  # another port
        "https://other.example.org/",
        "https://wild.example/",  # the domain itself
        "https://evilwild.example/",
        "https://hooks.example.org.evil.example/",
        "https://hooks.example.org@evil.example/",
        "https://user:password@hooks.example.org/",
        "https://evil.example#hooks.example.org",
        "https://hooks.example.org/#part",
        "https://evil.example\\@hooks.example.org/",
        "https://hooks.example.org/a b",
        "https://hooks.example.org/\tx",
        "https://hooks.example.org/\r\nHost: evil.example",
        "https://hooks.example.org./",
        "https://hooks.example.org:0/",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org:x/",
        "https://h\u00f6oks.example.org/",
        "http://127.1:9000/",  # addresses in odd forms
        "http://2130706433:9000/",
        "http://0x7f000001:9000/",
        "http://[::ffff:127.0.0.1]:9000/",
        "http://127.0.0.1:9001/",
        "https://[::1/",
        "https://hooks.example.org/" + "x" * 2000,
    ],
)
def test_nothing_else_is_called(url: str) -> None:
    with pytest.raises(InvalidField, match="callbackUrl"):
        LISTED.target(url)


def test_without_a_list_the_refusal_names_the_setting() -> None:
    with pytest.raises(InvalidField, match="callback_hosts"):
        Hosts([]).target("https://hooks.example.org/")


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "https://a.b", "a b", "a:0", "a:99999", "a/b", "-"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        Hosts([entry])


def _target(url: str) -> Target:
    return LISTED.target(url)


@pytest.mark.parametrize(
    ("url", "address", "admitted"),
    [
        ("https://a.wild.example/", "93.184.216.34", True),
        ("https://a.wild.example/", "2606:2800:220:1:248:1893:25c8:1946", True),
        ("https://a.wild.example/", "10.0.0.1", False),
        ("https://a.wild.example/", "172.16.3.4", False),
        ("https://a.wild.example/", "192.168.1.1", False),
        ("https://a.wild.example/", "100.64.0.1", False),
        ("https://a.wild.example/", "127.0.0.1", False),
        ("https://a.wild.example/", "169.254.169.254", False),
        ("https://a.wild.example/", "0.0.0.0", False),  # noqa: S104
        ("https://a.wild.example/", "224.0.0.1", False),
        ("https://a.wild.example/", "::1", False),
        ("https://a.wild.example/", "::", False),
        ("https://a.wild.example/", "fd00::1", False),
        ("https://a.wild.example/", "fe80::1", False),
        ("https://a.wild.example/", "ff02::1", False),
        ("https://a.wild.example/", "::ffff:10.0.0.1", False),
        ("https://a.wild.example/", "64:ff9b::a00:1", False),
        ("https://a.wild.example/", "2002:a00:1::", False),
        ("https://hooks.example.org/", "10.0.0.1", True),  # listed as it is: the operator's own
        ("https://hooks.example.org/", "169.254.169.254", False),
        ("https://hooks.example.org/", "::ffff:169.254.169.254", False),
        ("https://hooks.example.org/", "0.0.0.0", False),  # noqa: S104
        ("https://10.0.0.5/", "10.0.0.5", True),
        ("https://169.254.7.7/", "169.254.7.7", True),
        ("http://localhost:9001/", "127.0.0.1", True),
        ("http://localhost:9001/", "::1", True),
        ("http://localhost:9001/", "10.0.0.1", False),
        ("http://localhost:9001/", "93.184.216.34", False),
    ],
)
def test_a_name_leads_only_where_it_may(url: str, address: str, admitted: bool) -> None:
    assert _target(url).admits(ip_address(address)) is admitted


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_is_judged_alike_in_every_form(address: IPv4Address) -> None:
    """IPv6 has several ways to write one of IPv4."""
    target = _target("https://a.wild.example/")
    plain = target.admits(address)
    packed = int(address)
    assert target.admits(IPv6Address(0xFFFF << 32 | packed)) is plain
    assert target.admits(IPv6Address(0x64FF9B << 96 | packed)) is plain
    assert target.admits(IPv6Address(0x2002 << 112 | packed << 80)) is plain
    assert not plain or address.is_global
