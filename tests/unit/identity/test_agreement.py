"""Keys agreed from node ids, and messages sealed to one."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import NodeId
from keynet.errors import KeyMismatch, RemoteProtocolError
from keynet.identity import Identity
from keynet.identity.agreement import ping_key, x25519_private, x25519_public
from keynet.identity.sealing import OVERHEAD, seal, unseal

ALICE, BOB, EVE = (Identity.generate() for _ in range(3))

NOT_KEYS = [
    (1).to_bytes(32, "little"),
    (2**255 - 19 - 1).to_bytes(32, "little"),  # y = -1: u = 0, a point of order 2
    (2**255 - 19).to_bytes(32, "little"),
    b"\xff" * 32,
]


@given(st.binary(min_size=32, max_size=32))
def test_the_map_of_the_public_key_is_the_public_key_of_the_map(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    node_id = NodeId(key.public_key().public_bytes_raw())
    assert x25519_private(key).public_key() == x25519_public(node_id)


def test_a_known_pair():
    """The base point of Ed25519 maps to that of X25519 (RFC 7748 section 4.1: y = 4/5, u = 9)."""
    y = 4 * pow(5, -1, 2**255 - 19) % (2**255 - 19)
    assert x25519_public(NodeId(y.to_bytes(32, "little"))).public_bytes_raw() == (9).to_bytes(
        32, "little"
    )


def test_both_sides_agree_and_every_pair_has_its_own():
    assert ping_key(ALICE.private_key, BOB.node_id) == ping_key(BOB.private_key, ALICE.node_id)
    assert ping_key(ALICE.private_key, BOB.node_id) != ping_key(ALICE.private_key, EVE.node_id)


@pytest.mark.parametrize("public", NOT_KEYS)
def test_an_id_that_is_no_key_gives_a_clear_error(public):
    with pytest.raises(KeyMismatch):
        ping_key(ALICE.private_key, NodeId(public))


@given(st.binary(max_size=2000))
def test_what_is_sealed_to_bob_is_read_by_bob_with_its_sender(text):
    sealed = seal(text, ALICE.private_key, BOB.node_id, b"test")
    assert len(sealed) == len(text) + OVERHEAD
    assert unseal(sealed, BOB.private_key, b"test") == (ALICE.node_id, text)


def test_nobody_else_reads_it_and_no_other_purpose_takes_it():
    sealed = seal(b"text", ALICE.private_key, BOB.node_id, b"test")
    with pytest.raises(RemoteProtocolError, match="not for this node"):
        unseal(sealed, EVE.private_key, b"test")
    with pytest.raises(RemoteProtocolError, match="not for this node"):
        unseal(sealed, BOB.private_key, b"other")


def test_bob_cannot_pass_on_what_alice_sealed_to_him():
    """Eve gets Alice's signature in an envelope of Bob's making: it covers the recipient."""
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    inside = suite.decrypt(
        seal(b"text", ALICE.private_key, BOB.node_id, b"test"),
        x25519_private(BOB.private_key),
        b"test",
    )
    again = suite.encrypt(inside, x25519_public(EVE.node_id), b"test")
    with pytest.raises(RemoteProtocolError, match="signature"):
        unseal(again, EVE.private_key, b"test")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_clear_error(data):
    with pytest.raises(RemoteProtocolError):
        unseal(data, BOB.private_key, b"test")


@given(st.data())
def test_a_changed_seal_is_a_clear_error(data):
    sealed = bytearray(seal(b"text", ALICE.private_key, BOB.node_id, b"test"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        unseal(bytes(sealed), BOB.private_key, b"test")
