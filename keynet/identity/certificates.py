"""One certificate: issuing it, and reading from it what a verifier needs. Chains are in chain.py.

A node's certificate is X.509 version 3 with an Ed25519 key. Its subject is one common name, the
node id. A private extension holds the *node signature*: made by the certificate's own key, over

    "keynet node signature 1" and a zero byte       24 bytes
    the certificate's public key                    32 bytes
    the issuer's public key (its own when it is     32 bytes
      self-signed)
    the serial number, big-endian                   20 bytes
    notBefore, Unix time in seconds, big-endian      8 bytes
    notAfter, the same                               8 bytes

and stored as a DER OCTET STRING of 64 bytes. The issuer's signature says that the old key names
the new one; the node signature says that the new key agrees to follow exactly that old one, so a
chain can be checked offline, and nobody can put a stranger's key at the head of a chain.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from keynet.address import NodeId
from keynet.errors import CommonNameMissing, KeyMismatch, MalformedCertificate
from keynet.identity.keys import node_id_of

NODE_SIGNATURE_OID = x509.ObjectIdentifier("2.25.96031170402180347029152086893042103723")
"""Under 2.25, the arc of UUIDs (ITU-T X.667), which needs no registration."""

LIFETIME = timedelta(days=365)
BACKDATED = timedelta(hours=1)
"""A fresh certificate is valid since an hour ago: clocks differ."""

_DOMAIN = b"keynet node signature 1\x00"
_OCTET_STRING_64 = b"\x04\x40"
_BIT_STRING_64 = b"\x03\x41\x00"
_SERIAL_BYTES = 20

REMEMBERED = 1024
"""Certificates whose claims are not read again."""

PARSE_ERRORS = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises, lazily too, on hostile certificates."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What one certificate says, read but not yet proved."""

    certificate: x509.Certificate
    node_id: NodeId
    public_key: Ed25519PublicKey
    subject: x509.Name
    issuer: x509.Name
    not_before: datetime
    not_after: datetime
    node_signature: bytes | None
    """The extension's value as it stands; None when there is none."""


def issue(
    key: Ed25519PrivateKey, issuer: Ed25519PrivateKey, now: datetime | None = None
) -> x509.Certificate:
    """A certificate for `key` (which must agree: it signs as well) issued by `issuer`.

    Valid from an hour before `now` for LIFETIME; self-signed when both keys are the same.
    """
    start = (now or datetime.now(UTC)).replace(microsecond=0) - BACKDATED
    end = start + LIFETIME
    serial = x509.random_serial_number()
    message = node_signature_message(node_id_of(key), node_id_of(issuer), serial, start, end)
    signature = _OCTET_STRING_64 + key.sign(message)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(node_id_of(key)))
        .issuer_name(_name(node_id_of(issuer)))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.UnrecognizedExtension(NODE_SIGNATURE_OID, signature), critical=False)
        .sign(issuer, None)
    )


def node_signature_message(
    node_id: NodeId, issuer: NodeId, serial: int, not_before: datetime, not_after: datetime
) -> bytes:
    """The bytes that a node signature signs; every field has a fixed width.

    Raises OverflowError for a serial or a date that no honest certificate has.
    """
    return b"".join(
        (
            _DOMAIN,
            node_id.public_key,
            issuer.public_key,
            serial.to_bytes(_SERIAL_BYTES, "big"),
            int(not_before.timestamp()).to_bytes(8, "big"),
            int(not_after.timestamp()).to_bytes(8, "big"),
        )
    )


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate from its DER bytes; MalformedCertificate when they are none."""
    try:
        return x509.load_der_x509_certificate(der)
    except PARSE_ERRORS as error:
        raise MalformedCertificate(f"not a certificate: {error}") from error


def read_claims(certificate: x509.Certificate) -> Claims:
    """Read a certificate; MalformedCertificate, CommonNameMissing or KeyMismatch when amiss."""
    try:
        return _read_claims(certificate)
    except PARSE_ERRORS as error:
        raise MalformedCertificate(f"a certificate cannot be read: {error}") from error


@functools.lru_cache(maxsize=REMEMBERED)
def _read_claims(certificate: x509.Certificate) -> Claims:
    """Remembered, because each stream is a handshake; what cannot be read never is."""
    public_key = certificate.public_key()
    if not isinstance(public_key, Ed25519PublicKey):
        raise MalformedCertificate("a certificate's key is not Ed25519")
    subject = certificate.subject
    return Claims(
        certificate=certificate,
        node_id=_checked_id(subject, node_id_of(public_key)),
        public_key=public_key,
        subject=subject,
        issuer=certificate.issuer,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        node_signature=_extension(certificate),
    )


def _checked_id(subject: x509.Name, node_id: NodeId) -> NodeId:
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        raise CommonNameMissing("a certificate has no common name")
    if len(names) > 1:
        raise MalformedCertificate("a certificate has several common names")
    if names[0].value != str(node_id):
        raise KeyMismatch(f"a certificate's common name is not {node_id}, the id of its key")
    return node_id


def _extension(certificate: x509.Certificate) -> bytes | None:
    try:
        value = certificate.extensions.get_extension_for_oid(NODE_SIGNATURE_OID).value
    except x509.ExtensionNotFound:
        return None
    return value.value if isinstance(value, x509.UnrecognizedExtension) else None


def is_issued_by(claims: Claims, issuer: Claims) -> bool:
    """Whether `issuer` is named in the certificate and its key signed it."""
    certificate = claims.certificate
    if claims.issuer != issuer.subject:
        return False
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ED25519:
        return False
    if not certificate.public_bytes(Encoding.DER).endswith(_BIT_STRING_64 + certificate.signature):
        return False  # the parser takes other counts of unused bits: one certificate, one encoding
    return _verifies(issuer.public_key, certificate.signature, certificate.tbs_certificate_bytes)


def has_node_signature(claims: Claims, issuer: NodeId) -> bool:
    """Whether the certificate's own key signed that it follows `issuer`."""
    value = claims.node_signature
    if value is None or not value.startswith(_OCTET_STRING_64):
        return False
    try:
        message = node_signature_message(
            claims.node_id,
            issuer,
            claims.certificate.serial_number,
            claims.not_before,
            claims.not_after,
        )
    except OverflowError:
        return False
    return _verifies(claims.public_key, value[len(_OCTET_STRING_64) :], message)


def _verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _name(node_id: NodeId) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(node_id))])
