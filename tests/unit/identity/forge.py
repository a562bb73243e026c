"""Certificates that are wrong in one place, for tests. Builds what `issue` never would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from keynet.identity.certificates import NODE_SIGNATURE_OID, node_signature_message
from keynet.identity.keys import node_id_of

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def common_names(*values: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value) for value in values])


def forge(
    key: Ed25519PrivateKey,
    issuer: Ed25519PrivateKey | None = None,
    *,
    signer: Ed25519PrivateKey | None = None,
    subject: x509.Name | None = None,
    issuer_name: x509.Name | None = None,
    follows: Ed25519PrivateKey | None = None,
    node_signer: Ed25519PrivateKey | None = None,
    extension: bytes | None = None,
    with_extension: bool = True,
    signed_serial: int = 7,
    start: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
) -> x509.Certificate:
    """A sound certificate of serial number 7 but for what is given."""
    issuer = issuer or key
    message = node_signature_message(
        node_id_of(key), node_id_of(follows or issuer), signed_serial, start, end
    )
    value = extension or b"\x04\x40" + (node_signer or key).sign(message)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_names(str(node_id_of(key))) if subject is None else subject)
        .issuer_name(issuer_name or common_names(str(node_id_of(issuer))))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if with_extension:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(NODE_SIGNATURE_OID, value), critical=False
        )
    return builder.sign(signer or issuer, None)


def elliptic() -> x509.Certificate:
    """A self-signed certificate of another kind of key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = common_names("elliptic")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(key, hashes.SHA256())
    )
