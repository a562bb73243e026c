"""Ed25519 keys: the id that a key gives, and one key as PEM text. No files; see store.py."""

from __future__ import annotations

import base64
import textwrap

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keynet.address import NodeId
from keynet.errors import ConfigError, KeyFileError
from keynet.identity.pkcs8 import encrypt_pkcs8

ENCRYPTED_LABEL = "ENCRYPTED PRIVATE KEY"
PLAIN_LABEL = "PRIVATE KEY"


def node_id_of(key: Ed25519PrivateKey | Ed25519PublicKey) -> NodeId:
    """The node id that a key gives: the public key's 32 bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return NodeId(public.public_bytes_raw())


def key_to_pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    """The key as a PKCS #8 PEM block (RFC 7468), encrypted when there is a passphrase.

    Raises ConfigError when the passphrase is empty.
    """
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    if passphrase is None:
        return _pem(PLAIN_LABEL, der)
    if not passphrase:
        raise ConfigError("the passphrase is empty")
    return _pem(ENCRYPTED_LABEL, encrypt_pkcs8(der, passphrase))


def _pem(label: str, der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()


def key_from_pem(block: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    """The key in one PEM block; KeyFileError when it cannot be read or unlocked.

    A passphrase that the block does not need is ignored.
    """
    encrypted = ENCRYPTED_LABEL.encode() in block.split(b"\n", 1)[0]
    if encrypted and not passphrase:
        raise KeyFileError(
            "the key is encrypted: give the passphrase in KEYNET_PASSPHRASE or by --passphrase-file"
        )
    try:
        key = serialization.load_pem_private_key(block, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "wrong passphrase, or the key is corrupt" if encrypted else "the key is corrupt"
        raise KeyFileError(reason) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError("the key is not an Ed25519 key")
    return key
