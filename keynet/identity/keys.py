"""Ed25519 keys: the id that a key gives, and keys as PEM text. No files here; see store.py."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keynet.address import NodeId
from keynet.errors import KeyFileError

_END = b"-----END"


def node_id_of(key: Ed25519PrivateKey | Ed25519PublicKey) -> NodeId:
    """The node id that a key gives: the public key's 32 bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return NodeId(public.public_bytes_raw())


def keys_to_pem(keys: Sequence[Ed25519PrivateKey], passphrase: bytes | None) -> bytes:
    """The keys as PKCS #8 PEM blocks one after the other, encrypted when there is a passphrase.

    The encryption is the library's best available: AES-256-CBC with a scrypt or PBKDF2 key.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return b"".join(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        for key in keys
    )


def keys_from_pem(pem: bytes, passphrase: bytes | None) -> tuple[Ed25519PrivateKey, ...]:
    """The private keys in `pem`, in order; KeyFileError when one cannot be read or unlocked."""
    return tuple(_key_from_pem(block, passphrase) for block in _blocks(pem))


def _blocks(pem: bytes) -> list[bytes]:
    """Split after each END line; whatever follows the last one must be blank."""
    blocks: list[bytes] = []
    block: list[bytes] = []
    for line in pem.splitlines():
        block.append(line)
        if line.startswith(_END):
            blocks.append(b"\n".join(block) + b"\n")
            block = []
    if any(line.strip() for line in block):
        raise KeyFileError("the key file is cut short or holds something that is no key")
    return blocks


def _key_from_pem(block: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    encrypted = b"ENCRYPTED" in block.split(b"\n", 1)[0]
    if encrypted and passphrase is None:
        raise KeyFileError("the key is encrypted, and no passphrase was given")
    try:
        key = serialization.load_pem_private_key(block, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "wrong passphrase, or the key is corrupt" if encrypted else "the key is corrupt"
        raise KeyFileError(reason) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError("the key is not an Ed25519 key")
    return key
