"""Keys that two nodes share because they know each other's ids: X25519 from Ed25519 identities.

The birational map of RFC 7748 section 4.1 turns an Ed25519 key into an X25519 key, so that a node
id alone is enough to agree on a key, before any message has passed.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keynet.address import NodeId
from keynet.errors import KeyMismatch
from keynet.identity.keys import node_id_of

_P = 2**255 - 19
_PING_INFO = b"keynet ping v1"


def x25519_private(key: Ed25519PrivateKey) -> X25519PrivateKey:
    """The X25519 key of the same secret scalar (RFC 8032 section 5.1.5 says how it is made)."""
    return X25519PrivateKey.from_private_bytes(
        hashlib.sha512(key.private_bytes_raw()).digest()[:32]
    )


def x25519_public(node_id: NodeId) -> X25519PublicKey:
    """The X25519 key of a node: u = (1 + y) / (1 - y), RFC 7748 section 4.1.

    Raises KeyMismatch for an id that is no point to agree on a key with.
    """
    y = int.from_bytes(node_id.public_key, "little") & (1 << 255) - 1
    if y >= _P or y == 1:
        raise KeyMismatch(f"{node_id.short} is not the id of an Ed25519 key")
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    return X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))


def ping_key(own: Ed25519PrivateKey, peer: NodeId) -> bytes:
    """The 32-byte key of pings and pongs between two nodes; both compute the same.

    Raises KeyMismatch for an id that is no key's.
    """
    try:
        shared = x25519_private(own).exchange(x25519_public(peer))
    except ValueError as error:  # all zeros: a point of small order
        raise KeyMismatch(f"{peer.short} is not the id of an Ed25519 key") from error
    both = sorted((node_id_of(own).public_key, peer.public_key))
    return HKDF(SHA256(), 32, salt=None, info=_PING_INFO + b"".join(both)).derive(shared)
