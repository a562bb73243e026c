"""A sample keynet transport. Its bytes are authenticated but NOT encrypted: see README.md.

Here is only what the entry point names: `transport()` and the object that it returns.
"""

from __future__ import annotations

from dataclasses import dataclass

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams
from keynet.identity import Identity
from keynet.transport.api import Capability, LinkInfo
from keynet_loopback.engine import LoopbackEngine
from keynet_loopback.hello import Hello, is_first


@dataclass(frozen=True, slots=True)
class LoopbackTransport:
    """Makes engines; keeps nothing itself."""

    name: str = "loopback"
    capabilities: Capability = Capability.STREAMS | Capability.LIVENESS

    def claims(self, datagram: Buffer) -> bool:
        return is_first(datagram)

    def connect(
        self, link: LinkInfo, local: Identity, expected: NodeId, now: float
    ) -> LoopbackEngine:
        return LoopbackEngine(link, Hello(local, expected, dialing=True), now)

    def accept(
        self, link: LinkInfo, first: Datagrams, local: Identity, now: float
    ) -> LoopbackEngine:
        engine = LoopbackEngine(link, Hello(local, None, dialing=False), now)
        engine.receive(first, now)
        return engine


def transport() -> LoopbackTransport:
    """The factory that the entry point `keynet.transport: loopback` names."""
    return LoopbackTransport()
