"""Answering offers: whatever a lying seed does, it delays and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.errors import KeynetError, RemoteProtocolError
from keynet.identity import PeerIdentity
from keynet.signalling.answering import BURST, Answering
from keynet.signalling.messages import MAX_WAIT, Registration, open_answer, seal_offer
from keynet.signalling.replay import (
    MAX_SESSIONS,
    NONCE_LIFETIME,
    SESSION_MEMORY,
    Nonces,
    Sessions,
)
from tests.unit.signalling.people import ALICE, BOB, CANDIDATES, EVE, counting, peer

SESSION = b"0123456789abcdef"


def answering(refused: str | None = None) -> Answering:
    def admits(_: PeerIdentity) -> str | None:
        return refused

    return Answering(counting(), admits, lambda offer: CANDIDATES, ["utp"])


def offer_to_bob(bob: Answering, now: float = 0.0, session: bytes = SESSION) -> bytes:
    registration = Registration(peer(BOB), bob.nonces.current(now))
    return seal_offer(ALICE, registration, session, CANDIDATES, ["utp"])


def test_an_honest_offer_is_answered_and_both_begin():
    bob = answering()
    sealed, request = bob.answer(BOB, offer_to_bob(bob), 0.02, 0.0)
    answer = open_answer(sealed, ALICE, SESSION, BOB.node_id)
    assert answer.candidates == CANDIDATES
    assert request is not None
    assert request.offer.peer == peer(ALICE)
    assert request.offer.candidates == CANDIDATES
    assert request.wait == 0.02


@pytest.mark.parametrize(("advice", "taken"), [(-5.0, 0.0), (1e9, MAX_WAIT), (float("nan"), None)])
def test_the_carriers_advice_is_bounded(advice, taken):
    bob = answering()
    _, request = bob.answer(BOB, offer_to_bob(bob), advice, 0.0)
    assert request is not None
    assert 0.0 <= request.wait <= MAX_WAIT
    assert taken is None or request.wait == taken


def test_an_offer_counts_once():
    bob = answering()
    sealed = offer_to_bob(bob)
    bob.answer(BOB, sealed, 0.0, 0.0)
    with pytest.raises(RemoteProtocolError, match="twice"):
        bob.answer(BOB, sealed, 0.0, 1.0)


def test_an_offer_with_a_stale_nonce_is_dropped():
    bob = answering()
    sealed = offer_to_bob(bob, 0.0)
    later = 3 * NONCE_LIFETIME
    bob.nonces.current(later)
    with pytest.raises(RemoteProtocolError, match="stale"):
        bob.answer(BOB, sealed, 0.0, later)


def test_an_offer_for_another_node_is_dropped():
    bob = answering()
    with pytest.raises(RemoteProtocolError):
        bob.answer(EVE, offer_to_bob(bob), 0.0, 0.0)
    assert bob.counters["dropped: RemoteProtocolError"] == 1


def test_a_refusal_says_why_and_nothing_is_punched():
    bob = answering("you are denied here")
    sealed, request = bob.answer(BOB, offer_to_bob(bob), 0.0, 0.0)
    assert request is None
    answer = open_answer(sealed, ALICE, SESSION, BOB.node_id)
    assert answer.refusal == "you are denied here"
    assert answer.candidates == ()


def test_one_sender_may_not_offer_without_end():
    bob = answering()
    outcomes = [
        bob.answer(BOB, offer_to_bob(bob, session=n.to_bytes(16)), 0.0, 0.0)[1]
        for n in range(int(BURST) + 5)
    ]
    assert sum(one is not None for one in outcomes) == BURST


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_dropped_and_counted(data):
    bob = answering()
    with pytest.raises(KeynetError):
        bob.answer(BOB, data, 0.0, 0.0)
    assert sum(bob.counters.values()) == 1


# Nonces and sessions.


def test_the_nonce_before_is_still_good_and_the_one_before_that_is_not():
    nonces = Nonces(counting())
    first = nonces.current(0.0)
    assert nonces.current(NONCE_LIFETIME - 1) == first
    second = nonces.current(NONCE_LIFETIME)
    assert nonces.is_good(first, NONCE_LIFETIME + 1)
    third = nonces.current(2 * NONCE_LIFETIME)
    assert not nonces.is_good(first, 2 * NONCE_LIFETIME)
    assert nonces.is_good(second, 2 * NONCE_LIFETIME)
    assert nonces.is_good(third, 2 * NONCE_LIFETIME)
    assert not nonces.is_good(b"", 0.0)


def test_sessions_are_remembered_for_a_while_and_bounded():
    sessions = Sessions()
    for number in range(MAX_SESSIONS):
        sessions.take(number.to_bytes(16), 0.0)
    with pytest.raises(RemoteProtocolError, match="more than"):
        sessions.take(b"one more", 1.0)
    sessions.take(b"one more", SESSION_MEMORY)
    assert len(sessions) == 1
