"""Two whole nodes over FakeNet: what a binding gets in earnest, with uTP and TLS, in virtual time.

Streams have latency here, and windows, and half-close as on a network. What cannot be done is to
lose a path for a reason that a check gives: such checks do not apply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keynet.address import NodeId
from keynet.config import Config
from keynet.errors import KeynetError
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.api import ByteStream, StreamHandler
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.rpc.network import JoinedNetwork
from keynet.testing.rules import NotApplicable

LINK = LinkModel(latency=0.005)


class SimulatedNetwork:
    """One of two nodes' `Network`, beside the bindings that the node runs itself."""

    def __init__(self, node: Node, identity: Identity) -> None:
        self.identity = identity
        self.opened = 0
        """Streams that this side has opened, or tried to."""
        self._node = node

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    @property
    def refusal(self) -> KeynetError | None:
        return None

    @refusal.setter
    def refusal(self, error: KeynetError | None) -> None:
        raise NotApplicable("a whole node fails for reasons of its own")

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        self.opened += 1
        return await self._node.network.open_stream(node_id, _beside(protocol))

    def serve_protocol(self, protocol: str, handler: StreamHandler | None) -> None:
        self._node.network.serve_protocol(_beside(protocol), handler)

    def lose(self, reason: str) -> None:
        raise NotApplicable("a path dies for reasons of its own")

    async def aclose(self) -> None:
        await self._node.aclose()


@asynccontextmanager
async def over_utp(
    one: Identity, other: Identity
) -> AsyncIterator[tuple[JoinedNetwork, JoinedNetwork]]:
    """Two nodes that are connected; either may open streams."""
    net = FakeNet(0, LINK)
    at = net.endpoint(), net.endpoint()
    far = Node(identity=other, endpoint=at[1])
    config = Config.of(peer=f"{other.node_id}@{at[1].addresses[0]}")
    near = Node(config, identity=one, endpoint=at[0])
    try:
        await asyncio.gather(near.start(), far.start())
        await near.connect(other.node_id)
        await asyncio.sleep(2 * LINK.latency)  # the proof of the dialer's id is still on its way
        yield SimulatedNetwork(near, one), SimulatedNetwork(far, other)
    finally:
        await asyncio.gather(near.aclose(), far.aclose())


def _beside(protocol: str) -> str:
    """A name that no binding of the node's own has taken."""
    return f"checked-{protocol}"
