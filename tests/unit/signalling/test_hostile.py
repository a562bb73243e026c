"""Pings and offers of somebody who means harm: what they cost, and what they can change."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.errors import RemoteProtocolError
from keynet.identity import Identity, PeerIdentity
from keynet.identity.agreement import ping_key
from keynet.signalling.answering import RATE, STRANGERS_BURST, Answering
from keynet.signalling.candidate import Candidate, CandidateKind, candidate
from keynet.signalling.link import Link
from keynet.signalling.link_events import LinkLost, PathSelected
from keynet.signalling.messages import MAX_BLOB, Registration, open_offer, seal_offer
from keynet.signalling.pings import ROOM_FOR_STRANGERS
from keynet.signalling.puncher import MAX_TARGETS, Fate, Puncher
from keynet.signalling.replay import NONCE_LIFETIME, SESSION_MEMORY
from keynet.signalling.settings import LinkSettings
from keynet.signalling.silence import Silence
from keynet.stun.binding import Ping, Pong, ping, pong, read
from keynet.udp.path import Path
from tests.unit.signalling.people import ALICE, BOB, CANDIDATES, EVE, counting, peer

GREATER, LESSER = sorted((ALICE, BOB), key=lambda one: one.node_id.public_key, reverse=True)
KEY = ping_key(GREATER.private_key, LESSER.node_id)
FIRST, SECOND = (SocketAddress(f"198.51.100.{n}", 4000) for n in (1, 2))
VICTIM = SocketAddress("203.0.113.9", 53)


def link_of(own: Identity, other: Identity) -> Link:
    return Link(
        own.node_id,
        other.node_id,
        KEY,
        0.0,
        settings=LinkSettings(),
        random=random.Random(1).randbytes,
        rng=random.Random(1),
        ceiling=lambda path: 1472,
    )


def from_peer(link: Link, number: int = 0, *, nominate: bool = False) -> Ping:
    data = ping(number.to_bytes(12), link.local, link.peer, KEY, nominate=nominate)
    message = read(data)
    assert isinstance(message, Ping)
    return message


def sent(link: Link, now: float) -> list[tuple[SocketAddress, bytes]]:
    link.handle_deadline(now)
    return [(path.remote, data) for path, data in link.datagrams_to_send(now)]


def answer(link: Link, out: Iterable[tuple[SocketAddress, bytes]], now: float) -> None:
    """The peer's pongs."""
    for remote, data in out:
        message = read(data)
        if isinstance(message, Ping):
            reply = read(pong(message, SocketAddress("192.0.2.1", 1), KEY))
            assert isinstance(reply, Pong)
            link.receive(reply, Path(remote), now)


def with_two_paths(link: Link) -> None:
    for remote in (FIRST, SECOND):
        link.add_path(Path(remote), 0.0)
    while link.next_event() is not None:
        pass


def selected(link: Link) -> list[SocketAddress]:
    found = []
    while (event := link.next_event()) is not None:
        if isinstance(event, PathSelected):
            found.append(event.path.remote)
    return found


# Pings over again.


def test_a_nomination_that_comes_again_changes_nothing():
    link = link_of(LESSER, GREATER)
    with_two_paths(link)
    old, new = from_peer(link, 1, nominate=True), from_peer(link, 2, nominate=True)
    link.receive(old, Path(SECOND), 0.1)
    assert selected(link) == [SECOND]
    link.receive(new, Path(FIRST), 0.2)
    assert selected(link) == [FIRST]
    link.receive(old, Path(SECOND), 0.3)
    assert selected(link) == []
    assert link.path == Path(FIRST)


def test_a_replayed_ping_from_many_addresses_does_not_keep_a_link_from_asking_on():
    link = link_of(GREATER, LESSER)
    link.add_path(Path(FIRST), 0.0)
    replayed, now = from_peer(link), 0.0
    while now < 60.0:
        for n in range(20):
            source = SocketAddress(f"203.0.{int(now * 10) % 250}.{n}", 4000)
            link.receive(replayed, Path(source), now)
        out = sent(link, now)
        answer(link, [one for one in out if one[0] == FIRST], now)
        assert len(link._pings) <= 2 * ROOM_FOR_STRANGERS
        while (event := link.next_event()) is not None:
            assert not isinstance(event, LinkLost)
        now += 0.1
    assert link.path == Path(FIRST)


@pytest.mark.parametrize("punching", [False, True])
def test_a_replayed_ping_is_answered_with_at_most_three_times_its_bytes(punching):
    link = link_of(GREATER, LESSER)
    if punching:
        told = [candidate(CandidateKind.HOST, FIRST)]
        link.punch(Puncher(told, 0.0, rng=random.Random(1)), 0.0)
    replayed = from_peer(link)
    link.receive(replayed, Path(VICTIM), 0.0)
    out = [one for tick in range(200) for one in sent(link, tick / 10)]
    to_victim = [data for remote, data in out if remote == VICTIM]
    assert 2 <= len(to_victim) <= 3
    assert sum(map(len, to_victim)) <= 3 * replayed.size


def test_a_replayed_ping_from_many_addresses_fills_no_table_of_a_puncher():
    link = link_of(GREATER, LESSER)
    link.punch(Puncher([candidate(CandidateKind.HOST, FIRST)], 0.0, rng=random.Random(1)), 0.0)
    replayed = from_peer(link)
    for n in range(1000):
        link.receive(replayed, Path(SocketAddress(f"203.0.{n // 250}.{n % 250}", 4000)), 0.0)
        link.datagrams_to_send(0.0)
    assert len(link.puncher.outcomes) <= MAX_TARGETS


def test_pings_of_the_peer_that_come_late_in_an_attempt_are_returned():
    puncher = Puncher([candidate(CandidateKind.HOST, FIRST)], 0.0, rng=random.Random(1))
    at = [tick / 10 for tick in range(46)]
    assert sum(puncher.due(now) is not None for now in at) == 5
    puncher.learn(FIRST, 4.6)
    assert puncher.due(4.6) == FIRST
    puncher.learn(SECOND, 4.8)
    assert puncher.due(4.8) == SECOND
    assert puncher.due(4.9) is None
    assert {one.fate for one in puncher.outcomes} == {Fate.TRIED}


def test_a_loss_is_seen_at_the_very_deadline_whatever_rounding_does():
    for n in range(1000):
        silence = Silence(n * 0.7301, 15.0)
        silence.begin()
        assert silence.is_loss(silence.next_deadline())


# Offers.


def bob(trusted: Iterable[NodeId] = ()) -> Answering:
    def trusts(one: PeerIdentity) -> bool:
        return one.node_id in set(trusted)

    return Answering(counting(), lambda _: None, lambda _: (), ["utp"], trusts=trusts)


def offer(to: Answering, sender: Identity, session: int, now: float = 0.0) -> bytes:
    registration = Registration(peer(BOB), to.nonces.current(now))
    return seal_offer(sender, registration, session.to_bytes(16), CANDIDATES, ["utp"])


@pytest.mark.parametrize("pause", [1.0, 60.0, NONCE_LIFETIME, SESSION_MEMORY, 2 * SESSION_MEMORY])
def test_an_offer_is_taken_once_however_long_it_was_held_back(pause):
    node = bob()
    sealed = offer(node, ALICE, 1)
    node.answer(BOB, sealed, 0.0, 0.0)
    node.nonces.current(pause)
    with pytest.raises(RemoteProtocolError, match=r"twice|stale"):
        node.answer(BOB, sealed, 0.0, pause)


def test_strangers_offers_leave_room_for_those_whom_a_rule_names():
    node = bob([ALICE.node_id])
    taken = 0
    for n in range(int(STRANGERS_BURST) + 20):
        _, request = node.answer(BOB, offer(node, Identity.generate(), n), 0.0, 0.0)
        taken += request is not None
    assert taken == STRANGERS_BURST
    assert len(node._sessions) == taken
    assert node.answer(BOB, offer(node, EVE, 1000), 0.0, 0.0)[1] is None
    assert node.answer(BOB, offer(node, ALICE, 1001), 0.0, 0.0)[1] is not None


def test_an_offer_that_is_replayed_costs_its_sender_nothing():
    node = bob()
    sealed = offer(node, ALICE, 0)
    node.answer(BOB, sealed, 0.0, 0.0)
    for _ in range(50):
        with pytest.raises(RemoteProtocolError, match="twice"):
            node.answer(BOB, sealed, 0.0, 0.0)
    assert node.answer(BOB, offer(node, ALICE, 1), 0.0, 1 / RATE)[1] is not None


def told(*hosts: str) -> list[Candidate]:
    return [
        Candidate(CandidateKind.HOST, SocketAddress(host, 4000), 1, "f\x1b[2J") for host in hosts
    ]


def test_addresses_are_taken_in_one_spelling_and_what_is_none_is_left_out():
    spellings = ("2001:db8::1", "2001:DB8::1", "2001:0db8::0001", "192.0.2.1", "::ffff:192.0.2.1")
    sealed = seal_offer(
        ALICE,
        Registration(peer(BOB), bytes(16)),
        bytes(16),
        told(*spellings, "a.example", "\x1b[2J", ""),
        ["utp\x07"],
    )
    got = open_offer(sealed, BOB)
    assert [one.address.host for one in got.candidates] == ["2001:db8::1", "192.0.2.1"]
    assert got.candidates[0].foundation == "f?[2J"
    assert got.transports == ("utp?",)
    assert len(sealed) < MAX_BLOB
