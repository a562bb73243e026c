"""Candidates: their order, which are sent to whom, and which are never probed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.signalling.candidate import (
    MAX_CANDIDATES,
    CandidateKind,
    best,
    candidate,
    for_peer,
    is_private,
    is_usable,
)

V4 = SocketAddress("198.51.100.7", 4000)
V6 = SocketAddress("2001:db8:1::7", 4000)


def test_hosts_come_before_reflexive_ones_and_relays_last():
    order = [
        candidate(CandidateKind.HOST, V6),
        candidate(CandidateKind.HOST, V4),
        candidate(CandidateKind.HOST, V4, 1),
        candidate(CandidateKind.STATIC, V4),
        candidate(CandidateKind.REFLEXIVE, V6),
        candidate(CandidateKind.REFLEXIVE, V4),
        candidate(CandidateKind.RELAYED, V4),
    ]
    assert sorted(order, key=lambda c: -c.priority) == order
    assert all(0 < one.priority < 1 << 31 for one in order)


def test_the_best_are_kept_and_each_address_once():
    many = [
        candidate(CandidateKind.REFLEXIVE, SocketAddress("198.51.100.1", port), port)
        for port in range(1, 100)
    ]
    kept = best([*many, candidate(CandidateKind.HOST, V4), candidate(CandidateKind.REFLEXIVE, V4)])
    assert len(kept) == MAX_CANDIDATES
    assert kept[0] == candidate(CandidateKind.HOST, V4)
    assert [one.address for one in kept].count(V4) == 1


@pytest.mark.parametrize(
    "host",
    [
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "169.254.1.1",
        "fe80::1",
        "240.0.0.1",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:224.0.0.1",
        "example.com",
    ],
)
def test_nobody_is_made_to_probe(host):
    assert not is_usable(SocketAddress(host, 4000))


@pytest.mark.parametrize(
    "host", ["198.51.100.7", "10.0.0.1", "100.64.0.1", "2001:db8::1", "fd00::1"]
)
def test_what_can_be_a_node_is_usable(host):
    assert is_usable(SocketAddress(host, 4000))
    assert not is_usable(SocketAddress(host, 0))
    assert not is_usable(SocketAddress(host, 65536))


def test_loopback_is_usable_where_it_is_all_there_is():
    assert is_usable(SocketAddress("127.0.0.1", 1), loopback=True)
    assert is_usable(SocketAddress("::1", 1), loopback=True)


def test_private_addresses_go_to_friends_and_neighbours_only():
    private = candidate(CandidateKind.HOST, SocketAddress("192.168.1.5", 1))
    public = candidate(CandidateKind.REFLEXIVE, V4)
    both = [private, public]
    assert for_peer(both, [], friend=False) == (public,)
    assert for_peer(both, [], friend=True) == (private, public)
    assert for_peer(both, [private.address], friend=False) == (private, public)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.0.1", True),
        ("100.100.0.1", True),
        ("127.0.0.1", True),
        ("fd12::1", True),
        ("2001:db8::1", False),
        ("198.51.100.1", False),
    ],
)
def test_what_is_private(host, private):
    assert is_private(SocketAddress(host, 1)) is private


@given(st.ip_addresses(), st.integers(-1, 70000))
def test_no_address_raises(ip, port):
    is_usable(SocketAddress(str(ip), port))
    is_private(SocketAddress(str(ip), port))
