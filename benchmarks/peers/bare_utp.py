"""uTP without TLS: what the encryption costs is the difference."""

from __future__ import annotations

from benchmarks.peers.host import HostPeer
from benchmarks.stream import Address
from keynet.address import NodeId
from keynet.identity import Identity, verify_chain
from keynet.testing.plain import PlainUtp


class _BarePeer(HostPeer):
    """Nobody proves anything: both sides take the other for the same made-up node."""

    def __init__(self) -> None:
        made_up = verify_chain(Identity.generate().chain, None)
        super().__init__(PlainUtp(made_up, "bbr"))
        self._made_up = made_up

    def _expected(self, address: Address) -> NodeId:
        return self._made_up.node_id


def make() -> HostPeer:
    return _BarePeer()
