"""Proving a newer identity inside a connection, because QUIC's own handshake comes only once.

A proof is sent alone on a unidirectional stream:

    64 bytes   signature, by the new leaf's key, over CONTEXT, the signer's role, the connection's
               binding and the chain
    the chain  each certificate as two bytes of length (big endian) and its DER, leaf first

The binding is the same at both ends and at no other connection, so a proof is worth nothing
elsewhere. No I/O, no state.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from keynet.errors import IdentityError, RemoteProtocolError
from keynet.identity import (
    MAX_CHAIN,
    Identity,
    PeerIdentity,
    read_certificate,
    verify_chain,
)

CONTEXT = b"keynet-quic identity v1\0"
DIALER, LISTENER = b"D", b"L"
SIGNATURE = 64
MAX_PROOF = 32768
"""Bytes of a proof; the longest honest chain has about 10,000."""


def prove(local: Identity, role: bytes, binding: bytes) -> bytes:
    """What shows that the `role` of a connection is `local` from now on."""
    chain = b"".join(
        len(der).to_bytes(2, "big") + der
        for der in (certificate.public_bytes(Encoding.DER) for certificate in local.chain)
    )
    return local.private_key.sign(CONTEXT + role + binding + chain) + chain


def verify(proof: bytes, role: bytes, binding: bytes, known: PeerIdentity) -> PeerIdentity:
    """Whom the peer `known` until now has proved to be.

    Raises IdentityError, or RemoteProtocolError when the bytes are no proof.
    """
    signature, chain = proof[:SIGNATURE], proof[SIGNATURE:]
    proved = verify_chain(_read(chain), None)
    key = Ed25519PublicKey.from_public_bytes(proved.node_id.public_key)
    try:
        key.verify(signature, CONTEXT + role + binding + chain)
    except InvalidSignature as error:
        raise IdentityError("the peer does not hold the key that it changes to") from error
    if not (proved.matches(known.node_id) or known.matches(proved.node_id)):
        raise IdentityError("the peer's new identity is not of its lineage")
    return proved


def _read(chain: bytes) -> list[x509.Certificate]:
    certificates: list[x509.Certificate] = []
    at = 0
    while at < len(chain) and len(certificates) < MAX_CHAIN:
        size = int.from_bytes(chain[at : at + 2], "big")
        certificates.append(read_certificate(chain[at + 2 : at + 2 + size]))
        at += 2 + size
    if at != len(chain) or not certificates:
        raise RemoteProtocolError("a unidirectional stream holds no proof of identity")
    return certificates
