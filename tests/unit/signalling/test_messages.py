"""Registrations, offers and answers: read by whom they are for, and a clear error for all else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.errors import CertificateExpired, KeynetError, RemoteProtocolError, UnclaimedNodeId
from keynet.identity import Identity
from keynet.identity.sealing import seal
from keynet.signalling.candidate import MAX_CANDIDATES, CandidateKind, candidate
from keynet.signalling.messages import (
    MAX_BLOB,
    Registration,
    open_answer,
    open_offer,
    read_registration,
    seal_answer,
    seal_offer,
    sign_registration,
)
from tests.unit.signalling.people import ALICE, BOB, CANDIDATES, EVE, peer

NONCE, SESSION = bytes(range(16)), b"0123456789abcdef"
BOBS = Registration(peer(BOB), NONCE)


def test_a_registration_proves_its_node():
    found = read_registration(sign_registration(BOB, NONCE), BOB.node_id)
    assert found == Registration(peer(BOB), NONCE)


def test_a_registration_is_found_by_an_earlier_id_too():
    rotated = BOB.rotate()
    found = read_registration(sign_registration(rotated, NONCE), BOB.node_id)
    assert found.peer.node_id == rotated.node_id


def test_a_registration_of_another_node_is_refused():
    with pytest.raises(UnclaimedNodeId):
        read_registration(sign_registration(EVE, NONCE), BOB.node_id)


def test_a_registration_with_another_nonce_is_not_signed():
    blob = msgspec.msgpack.decode(sign_registration(BOB, NONCE))
    blob["nonce"] = bytes(16)
    with pytest.raises(RemoteProtocolError, match="signed"):
        read_registration(msgspec.msgpack.encode(blob))


def test_an_expired_chain_says_so():
    old = Identity.generate(datetime.now(UTC) - timedelta(days=800))
    with pytest.raises(CertificateExpired):
        read_registration(sign_registration(old, NONCE))


def test_an_offer_reaches_the_one_that_it_is_for():
    sealed = seal_offer(ALICE, BOBS, SESSION, CANDIDATES, ["utp", "quic"])
    offer = open_offer(sealed, BOB)
    assert offer.peer == peer(ALICE)
    assert (offer.session, offer.nonce) == (SESSION, NONCE)
    assert offer.candidates == CANDIDATES
    assert offer.transports == ("utp", "quic")
    with pytest.raises(RemoteProtocolError):
        open_offer(sealed, EVE)


def test_an_offer_to_a_key_that_was_rotated_meanwhile_is_still_read():
    sealed = seal_offer(ALICE, BOBS, SESSION, CANDIDATES, ["utp"])
    assert open_offer(sealed, BOB.rotate().rotate()).peer == peer(ALICE)


def test_an_answer_reaches_the_one_that_asked():
    offer = open_offer(seal_offer(ALICE, BOBS, SESSION, CANDIDATES, ["utp"]), BOB)
    sealed = seal_answer(BOB, offer, CANDIDATES, ["utp"])
    answer = open_answer(sealed, ALICE, SESSION, BOB.node_id)
    assert answer.peer == peer(BOB)
    assert answer.candidates == CANDIDATES
    assert answer.refusal is None
    with pytest.raises(RemoteProtocolError, match="another offer"):
        open_answer(sealed, ALICE, bytes(16), BOB.node_id)
    with pytest.raises(UnclaimedNodeId):
        open_answer(sealed, ALICE, SESSION, EVE.node_id)


def test_an_answer_is_no_offer():
    offer = open_offer(seal_offer(ALICE, BOBS, SESSION, (), []), BOB)
    with pytest.raises(RemoteProtocolError):
        open_offer(seal_answer(BOB, offer, (), []), ALICE)


def test_whoever_shows_anothers_chain_is_refused():
    """Eve seals with her own key, but puts Alice's chain inside."""
    text = msgspec.msgpack.encode(
        {
            "session": SESSION,
            "nonce": NONCE,
            "chain": [c.public_bytes(Encoding.DER) for c in ALICE.chain],
            "candidates": [],
            "transports": [],
        }
    )
    sealed = seal(text, EVE.private_key, BOB.node_id, b"keynet offer v1")
    with pytest.raises(UnclaimedNodeId):
        open_offer(sealed, BOB)


def test_only_so_many_candidates_are_sent():
    host = CANDIDATES[0].address.host
    many = [candidate(CandidateKind.HOST, SocketAddress(host, 1 + n), n) for n in range(40)]
    sealed = seal_offer(ALICE, BOBS, SESSION, many, ["utp"])
    assert len(open_offer(sealed, BOB).candidates) == MAX_CANDIDATES


def test_the_longest_honest_messages_fit():
    identity = ALICE
    for _ in range(20):
        identity = identity.rotate()
    many = [candidate(CandidateKind.REFLEXIVE, CANDIDATES[1].address, n) for n in range(16)]
    assert len(sign_registration(identity, NONCE)) < MAX_BLOB
    sealed = seal_offer(identity, BOBS, SESSION, many, ["x" * 30] * 8)
    assert len(sealed) < MAX_BLOB
    assert open_offer(sealed, BOB).peer.node_id == identity.node_id


@pytest.mark.parametrize(
    "change",
    [
        {"session": b"short"},
        {"nonce": b""},
        {"chain": []},
        {"chain": [b"x"] * 17},
        {"chain": [b"no certificate"]},
        {"candidates": [["host", "1.2.3.4", 0, 1, "f"]]},
        {"candidates": [["host", "1.2.3.4", 70000, 1, "f"]]},
        {"candidates": [["nonsense", "1.2.3.4", 1, 1, "f"]]},
        {"candidates": [["host", "1.2.3.4", 1, 1, "f"]] * 17},
        {"candidates": [["host", "x" * 65, 1, 1, "f"]]},
        {"transports": ["x"] * 9},
        {"transports": 3},
    ],
)
def test_a_sealed_message_with_a_wrong_field_is_a_clear_error(change):
    whole = {
        "session": SESSION,
        "nonce": NONCE,
        "chain": [c.public_bytes(Encoding.DER) for c in ALICE.chain],
        "candidates": [],
        "transports": [],
    }
    good = seal(msgspec.msgpack.encode(whole), ALICE.private_key, BOB.node_id, b"keynet offer v1")
    assert open_offer(good, BOB).peer == peer(ALICE)
    text = msgspec.msgpack.encode({**whole, **change})
    with pytest.raises(KeynetError):
        open_offer(seal(text, ALICE.private_key, BOB.node_id, b"keynet offer v1"), BOB)


def test_what_is_too_large_is_not_even_decrypted():
    with pytest.raises(RemoteProtocolError, match="more than"):
        open_offer(bytes(MAX_BLOB + 1), BOB)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_clear_error(data):
    with pytest.raises(RemoteProtocolError):
        read_registration(data)
    with pytest.raises(RemoteProtocolError):
        open_offer(data, BOB)
    with pytest.raises(RemoteProtocolError):
        open_answer(data, ALICE, SESSION, BOB.node_id)


@given(st.binary(max_size=400))
def test_arbitrary_sealed_bytes_are_a_clear_error(data):
    with pytest.raises(KeynetError):
        open_offer(seal(data, ALICE.private_key, BOB.node_id, b"keynet offer v1"), BOB)
