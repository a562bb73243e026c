"""Messages for one node's eyes that pass through others' hands: signed by one, sealed to the other.

HPKE (RFC 9180) in its base mode seals to the recipient's X25519 key, which its node id gives; the
sender's Ed25519 signature, inside, covers the recipient too, so that nobody can pass a message on
as meant for another.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from keynet.address import NODE_ID_BYTES, NodeId
from keynet.errors import RemoteProtocolError
from keynet.identity.agreement import x25519_private, x25519_public
from keynet.identity.keys import node_id_of

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SIGNATURE = 64
OVERHEAD = 48 + NODE_ID_BYTES + _SIGNATURE
"""Bytes that sealing adds."""


def seal(text: bytes, sender: Ed25519PrivateKey, to: NodeId, purpose: bytes) -> bytes:
    """Sign `text` and seal it to the node `to`. `purpose` keeps uses apart: both ends name it.

    Raises KeyMismatch for an id that is no key's.
    """
    signature = sender.sign(_signed(purpose, node_id_of(sender), to, text))
    inside = node_id_of(sender).public_key + signature + text
    return _SUITE.encrypt(inside, x25519_public(to), purpose)


def unseal(sealed: bytes, own: Ed25519PrivateKey, purpose: bytes) -> tuple[NodeId, bytes]:
    """Who sealed it, and the text. Raises RemoteProtocolError for whatever was not meant for us."""
    try:
        inside = _SUITE.decrypt(sealed, x25519_private(own), purpose)
    except (InvalidTag, ValueError) as error:
        raise RemoteProtocolError(
            "a sealed message is not for this node, or was altered"
        ) from error
    if len(inside) < NODE_ID_BYTES + _SIGNATURE:
        raise RemoteProtocolError("a sealed message is too short")
    sender = NodeId(inside[:NODE_ID_BYTES])
    signature = inside[NODE_ID_BYTES : NODE_ID_BYTES + _SIGNATURE]
    text = inside[NODE_ID_BYTES + _SIGNATURE :]
    try:
        key = Ed25519PublicKey.from_public_bytes(sender.public_key)
        key.verify(signature, _signed(purpose, sender, node_id_of(own), text))
    except (InvalidSignature, ValueError) as error:
        raise RemoteProtocolError("a sealed message's signature is not its sender's") from error
    return sender, text


def _signed(purpose: bytes, sender: NodeId, to: NodeId, text: bytes) -> bytes:
    header = len(purpose).to_bytes(2) + purpose
    return b"keynet sealed v1" + header + sender.public_key + to.public_key + text
