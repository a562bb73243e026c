"""Who the peer of a connection is, by what its streams have proved. Knows nothing of TLS."""

from __future__ import annotations

import math

from keynet.address import NodeId
from keynet.errors import IdentityError, PeerReplaced
from keynet.identity import PeerIdentity
from keynet.transport.api import HandshakeCompleted, PeerIdentityChanged

SILENT_AFTER = 3.0
"""Seconds without an authenticated byte after which another node that proves itself is believed."""
OUTDATED_FOR = 30.0
"""Seconds that an older key passes beside a newer one: a stream proves who its opener was when it
was opened, and its SYN may have been lost a few times."""


class Proofs:
    """Each stream proves an identity: all must be of one lineage, and not go back in it for long.

    Otherwise whoever holds a key that the peer has given up could take part in its connection.
    """

    __slots__ = ("_changed_at", "_expected", "heard_at", "peer")

    def __init__(self, expected: NodeId | None, now: float) -> None:
        """`expected` is whom the first stream must prove; None: anybody."""
        self._expected = expected
        self.peer: PeerIdentity | None = None
        """The newest identity that was proved."""
        self.heard_at = now
        """When the peer last said something that only it can have said."""
        self._changed_at = -math.inf

    @property
    def expected(self) -> NodeId | None:
        """Whom a stream's own handshake must demand.

        Later streams may prove anybody: what they prove is compared with `peer`. A handshake that
        is cut short would not show whether it is really another node that answers.
        """
        return self._expected if self.peer is None else None

    def take(
        self, proved: PeerIdentity, now: float
    ) -> HandshakeCompleted | PeerIdentityChanged | None:
        """Take what a stream has proved; returns what is news.

        Raises IdentityError when that is another node, or an outdated key; PeerReplaced when the
        peer is silent besides.
        """
        before = self.peer
        if before is not None and not self._is_still(before, proved, now):
            if now - self.heard_at < SILENT_AFTER:
                raise IdentityError("a stream proved another node than its connection")
            raise PeerReplaced("another node answers at that address now")
        self.heard_at = now
        if before is not None and not proved.supersedes(before):
            return None
        self.peer, self._changed_at = proved, now
        return HandshakeCompleted(proved) if before is None else PeerIdentityChanged(proved)

    def _is_still(self, peer: PeerIdentity, proved: PeerIdentity, now: float) -> bool:
        if proved.matches(peer.node_id):
            return True
        return peer.matches(proved.node_id) and now - self._changed_at < OUTDATED_FOR
