"""This node's own identity: keys and chain; made, rotated and renewed. No files: see store.py."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keynet.address import NodeId
from keynet.identity.certificates import issue
from keynet.identity.chain import MAX_CHAIN
from keynet.identity.keys import node_id_of


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Identity:
    """A node's secret side. Compared and hashed by object: caches hang on it weakly."""

    node_id: NodeId
    private_key: Ed25519PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(repr=False)
    """Leaf first, the oldest key's self-signed certificate last."""
    retired_keys: tuple[Ed25519PrivateKey, ...] = field(default=(), repr=False)
    """The keys of `chain[1:]`, in that order: an old id still answers, and issues renewals."""

    @classmethod
    def generate(cls, now: datetime | None = None) -> Identity:
        """A new node: one key, one self-signed certificate."""
        key = Ed25519PrivateKey.generate()
        return cls(node_id_of(key), key, (issue(key, key, now),))

    @property
    def lineage(self) -> tuple[NodeId, ...]:
        """The current id and every id before it."""
        return (self.node_id, *(node_id_of(key) for key in self.retired_keys))

    @property
    def expires_at(self) -> datetime:
        """The leaf's last moment (UTC)."""
        return self.chain[0].not_valid_after_utc

    @property
    def renewal_at(self) -> datetime:
        """When the leaf should be issued again: after two thirds of its life."""
        start = self.chain[0].not_valid_before_utc
        return start + (self.expires_at - start) * 2 / 3

    def facts(self) -> dict[str, Any]:
        """What anybody may know of it, as JSON types."""
        return {
            "node_id": str(self.node_id),
            "lineage": [str(node_id) for node_id in self.lineage],
            "expires_at": self.expires_at.isoformat(),
            "renewal_at": self.renewal_at.isoformat(),
        }

    def rotate(self, now: datetime | None = None) -> Identity:
        """The same node under a new key, whose certificate the old key issues.

        A chain at its bound loses its oldest id; the next oldest becomes a self-signed root.
        """
        key = Ed25519PrivateKey.generate()
        chain = (issue(key, self.private_key, now), *self.chain)
        retired = (self.private_key, *self.retired_keys)
        if len(chain) > MAX_CHAIN:
            retired = retired[: MAX_CHAIN - 1]
            chain = (*chain[: MAX_CHAIN - 1], issue(retired[-1], retired[-1], now))
        return Identity(node_id_of(key), key, chain, retired)

    def renewed(self, now: datetime | None = None) -> Identity:
        """The same identity with its leaf issued again; this very object when it is too early."""
        now = now or datetime.now(UTC)
        if now < self.renewal_at:
            return self
        issuer = self.retired_keys[0] if self.retired_keys else self.private_key
        return replace(self, chain=(issue(self.private_key, issuer, now), *self.chain[1:]))
