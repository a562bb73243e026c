"""The one verifier of certificate chains: for TLS, QUIC and stored records. No I/O, no clock.

A chain runs from the leaf (the node's current key) to the root (its oldest key, self-signed);
every certificate is issued by the next. Only what is named here counts: key usage, constraints
and other extensions say nothing about a node.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from keynet.address import NodeId
from keynet.errors import (
    BrokenLink,
    CertificateExpired,
    CertificateNotYetValid,
    ChainTooLong,
    EmptyChain,
    MalformedCertificate,
    NodeSignatureInvalid,
    UnclaimedNodeId,
)
from keynet.identity.certificates import (
    PARSE_ERRORS,
    Claims,
    has_node_signature,
    is_issued_by,
    read_claims,
)

MAX_CHAIN = 16
"""Certificates in a chain, at most: what a stranger can make us verify is bounded."""
PROVED_MAX = 2048
"""Verified signatures that are remembered, at about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who the peer is, proved by a chain. Made by `verify_chain` only."""

    node_id: NodeId
    """The current id: the leaf's."""
    lineage: tuple[NodeId, ...]
    """All ids of the chain, the current one first, the oldest last."""
    chain: tuple[x509.Certificate, ...]
    """The certificates, leaf first."""

    def matches(self, node_id: NodeId) -> bool:
        """Whether `node_id` is the peer's current id or one that it had before."""
        return node_id in self.lineage

    def supersedes(self, other: PeerIdentity) -> bool:
        """Whether it is the same node's newer key, or the same key's newer certificate."""
        if self.node_id != other.node_id:
            return self.matches(other.node_id)
        return self.chain[0].not_valid_before_utc > other.chain[0].not_valid_before_utc

    def certificates_pem(self) -> str:
        """The chain as PEM text, leaf first, as audit needs it."""
        return "".join(cert.public_bytes(Encoding.PEM).decode("ascii") for cert in self.chain)


def verify_chain(
    chain: Sequence[x509.Certificate], expected: NodeId | None, now: datetime | None = None
) -> PeerIdentity:
    """Prove who showed `chain` (leaf first); whether they hold the leaf's key is TLS's to prove.

    `expected` must be somewhere in the chain, unless it is None; `now` is an aware datetime, by
    default the current time. A lineage certificate may be expired, the leaf may not.

    Raises exactly one IdentityError, checked in this order: EmptyChain, ChainTooLong; for every
    certificate from the leaf on MalformedCertificate, CommonNameMissing, KeyMismatch; BrokenLink,
    NodeSignatureInvalid; CertificateNotYetValid (any), CertificateExpired (leaf); UnclaimedNodeId.
    """
    if not chain:
        raise EmptyChain("no certificate was shown")
    if len(chain) > MAX_CHAIN:
        raise ChainTooLong(f"the chain has {len(chain)} certificates, more than {MAX_CHAIN}")
    claims = [read_claims(certificate) for certificate in chain]
    lineage = tuple(claim.node_id for claim in claims)
    if len(set(lineage)) != len(lineage):
        raise BrokenLink("the chain names a node id twice")
    for index, claim in enumerate(claims):
        _check_link(claim, claims[min(index + 1, len(claims) - 1)])
    _check_dates(claims, now or datetime.now(UTC))
    if expected is not None and expected not in lineage:
        raise UnclaimedNodeId(f"expected node {expected}, but this one is {lineage[0]}")
    return PeerIdentity(lineage[0], lineage, tuple(chain))


class _Proved:
    """Which certificates' signatures have been verified: a stream each is a handshake each.

    Signatures stay valid for ever, so nothing is trusted here that would not be proved again;
    dates and the expected id are never remembered. Failures are not remembered at all.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], None] = {}
        self._adding = threading.Lock()  # event loops of several threads share the process's one

    def __contains__(self, key: tuple[bytes, bytes]) -> bool:
        return key in self._known

    def add(self, key: tuple[bytes, bytes]) -> None:
        with self._adding:
            while len(self._known) >= PROVED_MAX:
                del self._known[next(iter(self._known))]
            self._known[key] = None


_proved = _Proved()


def _check_link(claims: Claims, issuer: Claims) -> None:
    key = (claims.certificate.fingerprint(hashes.SHA256()), issuer.node_id.public_key)
    if claims.issuer == issuer.subject and key in _proved:
        return
    _prove_link(claims, issuer)
    _proved.add(key)


def _prove_link(claims: Claims, issuer: Claims) -> None:
    try:
        issued = is_issued_by(claims, issuer)
        agreed = issued and has_node_signature(claims, issuer.node_id)
    except PARSE_ERRORS as error:
        raise MalformedCertificate(f"a certificate cannot be read: {error}") from error
    if not issued:
        what = "self-signed, as the last must be" if issuer is claims else "issued by the next one"
        raise BrokenLink(f"the certificate of {claims.node_id} is not {what}")
    if not agreed:
        raise NodeSignatureInvalid(f"the certificate of {claims.node_id} lacks its node signature")


def _check_dates(claims: Sequence[Claims], now: datetime) -> None:
    for claim in claims:
        if now < claim.not_before:
            start = claim.not_before.isoformat()
            raise CertificateNotYetValid(f"a certificate of {claim.node_id} is valid from {start}")
    leaf = claims[0]
    if now > leaf.not_after:
        raise CertificateExpired(f"{leaf.node_id} expired at {leaf.not_after.isoformat()}")
