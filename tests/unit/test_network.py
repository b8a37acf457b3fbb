"""The policy of the network: what a list lets through, and who may decide what."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.addresses import is_public
from fanfold_server.model.errors import InvalidField
from fanfold_server.model.network import (
    EVERYTHING,
    NOTHING,
    Network,
    Networks,
    Reach,
    ScriptNetwork,
    listed,
    places_of,
)
from fanfold_server.service.network import read_network

HOSTS = st.sampled_from(
    ["a.example", "b.a.example", "c.b.a.example", "*.a.example", "*.example", "*.b.a.example",
     "10.0.0.1", "10.0.0.0/24", "10.0.0.0/8", "[fd00::1]", "[fd00::/8]", "93.184.216.34"]
)  # fmt: skip
PORTS = st.sampled_from(["", ":80", ":443", ":8443"])
ENTRIES = st.builds(lambda host, port: host + port, HOSTS, PORTS)
NETWORKS = st.one_of(
    st.just(NOTHING), st.just(EVERYTHING), st.lists(ENTRIES, max_size=4).map(listed)
)
ASKED = st.tuples(
    st.sampled_from(
        ["a.example", "b.a.example", "c.b.a.example", "example", "xa.example", "10.0.0.1",
         "10.0.0.9", "10.9.9.9", "fd00::1", "fd00::2", "fe80::1", "93.184.216.34"]
    ),
    st.sampled_from([80, 443, 8443, 22]),
)  # fmt: skip


def lets(network: Network, asked: tuple[str, int]) -> bool:
    return network.reach is Reach.FULL or network.admits(*asked)


@given(NETWORKS, NETWORKS, ASKED)
def test_more_is_what_one_or_the_other_lets_through(
    one: Network, two: Network, asked: tuple[str, int]
) -> None:
    assert lets(one.with_more(two), asked) == (lets(one, asked) or lets(two, asked))


@given(NETWORKS, NETWORKS, ASKED)
def test_less_is_what_both_let_through(one: Network, two: Network, asked: tuple[str, int]) -> None:
    assert lets(one.with_less(two), asked) == (lets(one, asked) and lets(two, asked))


@given(NETWORKS, NETWORKS, NETWORKS, ASKED)
def test_no_owner_can_widen_what_he_was_given(
    environment: Network, grant: Network, limit: Network, asked: tuple[str, int]
) -> None:
    given_ = environment.with_more(grant)
    assert not lets(given_.with_less(limit), asked) or lets(given_, asked)


@given(NETWORKS, NETWORKS)
def test_one_policy_has_one_label(one: Network, two: Network) -> None:
    """It is what keeps the workers of one policy from the runs of another."""
    assert (one.label == two.label) == (one == two)


@given(st.lists(ENTRIES, max_size=6))
def test_what_is_written_down_is_read_as_the_same(entries: list[str]) -> None:
    network = listed(entries)
    assert listed(map(str, network.hosts)) == network


def test_names_match_whole_labels_and_ports() -> None:
    network = listed(["api.example.org", "*.data.example.org:8443"])
    assert network.admits("api.example.org", 443)
    assert network.admits("api.example.org", 80)
    assert not network.admits("api.example.org", 8443)
    assert network.admits("one.two.data.example.org", 8443)
    for name in ("data.example.org", "evildata.example.org", "example.org", "xapi.example.org"):
        assert not network.admits(name, 8443)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "http://a.example", "a.example/x", "a.example:0", "a.example:65536", "a:b",
     "*", "*.*.example", "a.*.example", "user@a.example", "1.2.3", "0x7f.1", "::1", "[::1", "a..b",
     "-a.example", "täst.example", "a.example:\uff18\uff10"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host such as"):
        places_of(text)


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.100.100.200", "168.63.129.16", "0.0.0.0",  # noqa: S104
     "192.168.1.1", "172.16.0.1", "224.0.0.1", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1",
     "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
     "64:ff9b:1::7f00:1", "3fff::1", "2001:0:0:0:0:0:80ff:fffe"],
)  # fmt: skip
def test_a_name_does_not_lead_to_a_machine_beside_this_one(text: str) -> None:
    """Whoever owns a name on the list can let it stand for any address, at any time."""
    network = listed(["rebinds.example:80"])
    assert not is_public(ip_address(text))
    assert not network.leads_to(ip_address(text), 80)


def test_it_does_if_that_address_is_listed_too() -> None:
    network = listed(["db.example:5432", "10.1.0.0/16:5432", "[fd00::1]:443"])
    assert network.leads_to(ip_address("10.1.2.3"), 5432)
    assert network.leads_to(ip_address("::ffff:10.1.2.3"), 5432)
    assert not network.leads_to(ip_address("10.1.2.3"), 5433)
    assert not network.leads_to(ip_address("10.2.2.3"), 5432)
    assert network.leads_to(ip_address("fd00::1"), 443)
    assert network.leads_to(ip_address("93.184.216.34"), 443)


def test_environments_have_what_the_operator_says() -> None:
    networks = Networks({"open"}, ["api.example:443", "lab=10.0.0.1:80", "lab = b.example:443"])
    assert networks.of("open") == EVERYTHING
    assert networks.of("other").label == "allow-list api.example:443"
    assert networks.of("lab").label == "allow-list 10.0.0.1:80 api.example:443 b.example:443"
    assert Networks().of("any") is NOTHING
    assert Networks({"*"}).of("any") == EVERYTHING


def test_an_administrator_gives_and_an_owner_takes() -> None:
    networks = Networks()
    wanted = ScriptNetwork(grant=listed(["*.example:443"]), limit=listed(["a.example:443"]))
    assert networks.of("e", wanted).label == "allow-list a.example:443"
    assert networks.of("e", ScriptNetwork(limit=EVERYTHING)) == NOTHING
    assert Networks({"*"}).of("e", ScriptNetwork(limit=NOTHING)) == NOTHING


@pytest.mark.parametrize(
    ("policy", "hosts", "word"),
    [
        ("none", ["a.example"], "goes with"),
        ("full", ["a.example"], "goes with"),
        ("allow-list", [], "has 0 entries"),
        ("allow-list", ["a.example"] * 201, "has 201 entries"),
        ("allow-list", ["a/b"], '"a/b" is no host'),
    ],
)
def test_what_does_not_go_together_is_said(policy: str, hosts: list[str], word: str) -> None:
    with pytest.raises(InvalidField, match=word):
        read_network(policy, hosts)
