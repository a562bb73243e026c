"""An identity as one PEM text: key, chain and retired keys. One text, so that they change at once.

The current private key comes first, then the certificates from the leaf on, then the retired
private keys in the chain's order. What is read is checked as a whole before it is handed out.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from keynet.errors import IdentityError, KeyFileError
from keynet.identity.certificates import PARSE_ERRORS
from keynet.identity.chain import verify_chain
from keynet.identity.identity import Identity
from keynet.identity.keys import key_from_pem, key_to_pem, node_id_of

_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n.*?\n-----END \1-----\n", re.DOTALL)


def identity_to_pem(identity: Identity, passphrase: bytes | None) -> bytes:
    """The text to keep; the keys are encrypted when there is a passphrase."""
    certificates = [certificate.public_bytes(Encoding.PEM) for certificate in identity.chain]
    current, *retired = (
        key_to_pem(key, passphrase) for key in (identity.private_key, *identity.retired_keys)
    )
    return b"".join((current, *certificates, *retired))


def identity_from_pem(pem: bytes, passphrase: bytes | None) -> Identity:
    """Read the text back; KeyFileError when it is corrupt, locked, or does not fit together.

    An expired leaf is no error: it can be renewed.
    """
    keys: list[Ed25519PrivateKey] = []
    chain: list[x509.Certificate] = []
    for label, block in _blocks(pem.replace(b"\r\n", b"\n")):
        if label.endswith(b"PRIVATE KEY"):
            keys.append(key_from_pem(block, passphrase))
        elif label == b"CERTIFICATE":
            chain.append(_certificate(block))
        else:
            raise KeyFileError(f"the key file holds an unknown block: {label.decode()}")
    if not keys:
        raise KeyFileError("the key file holds no private key")
    _check(keys, chain)
    return Identity(node_id_of(keys[0]), keys[0], tuple(chain), tuple(keys[1:]))


def _blocks(pem: bytes) -> list[tuple[bytes, bytes]]:
    if _BLOCK.sub(b"", pem).strip():
        raise KeyFileError("the key file is cut short, or holds something that is not PEM")
    return [(match[1], match[0]) for match in _BLOCK.finditer(pem)]


def _certificate(block: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(block)
    except PARSE_ERRORS as error:
        raise KeyFileError("a certificate in the key file is corrupt") from error


def _check(keys: list[Ed25519PrivateKey], chain: list[x509.Certificate]) -> None:
    """Every certificate's key is here, and the chain is one that peers will accept."""
    try:
        begun = max((certificate.not_valid_before_utc for certificate in chain), default=None)
        peer = verify_chain(chain, None, begun)
    except (IdentityError, *PARSE_ERRORS) as error:
        raise KeyFileError(f"the key file's certificates are not sound: {error}") from error
    if peer.lineage != tuple(node_id_of(key) for key in keys):
        raise KeyFileError("the key file's keys and certificates do not belong together")
