"""Two nodes' networks with real proxies on loopback, for bindings that make sockets of their own.

Between the proxies there is no UDP but streams in memory. Real time, on any event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keynet.address import NodeId
from keynet.errors import KeynetError, LookupFailed
from keynet.identity import Identity
from keynet.node.events import ConnectionLost, ConnectionOpened, DialFailed
from keynet.node.network import NodeNetwork
from keynet.rpc.api import ByteStream, StreamHandler
from keynet.rpc.proxy.api import ProxyAccess, Target
from keynet.rpc.proxy.reverse import ReverseProxy
from keynet.rpc.proxy.services import Access, Services
from keynet.testing.proxies import serve_streams
from keynet.testing.rpc.network import JoinedNetwork
from keynet.testing.streams import MemoryConnection, connected

DEADLINE = 10.0
"""Seconds that opening a stream may take."""


class SocketNetwork:
    """One node's `ProxiedNetwork`; there is one other node. Make two with `SocketNetwork.pair`."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.refusal: KeynetError | None = None
        """Raised by every dial, when it is set."""
        self.opened = 0
        """Streams that this side has opened, or tried to."""
        self._reverse = ReverseProxy(identity.lineage, Services(), Access())
        self._network = NodeNetwork(lambda: identity, self, self._reverse, deadline=DEADLINE)
        self._serving: set[asyncio.Task[None]] = set()
        self._other: SocketNetwork | None = None
        self._connection: MemoryConnection | None = None

    @classmethod
    def pair(cls, one: Identity, other: Identity) -> tuple[SocketNetwork, SocketNetwork]:
        here, there = cls(one), cls(other)
        here._other, there._other = there, here
        return here, there

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        return await self._network.open_stream(node_id, protocol)

    def serve_protocol(self, protocol: str, handler: StreamHandler | None) -> None:
        self._network.serve_protocol(protocol, handler)

    async def proxy(self) -> ProxyAccess:
        return await self._network.proxy()

    def why(self, node_id: NodeId) -> str | None:
        return self._network.why(node_id)

    async def connect(self, target: Target) -> MemoryConnection:
        """Its own dialer: the connection that is open, or a new one."""
        self.opened += 1
        other = self._other
        if self.refusal is not None:
            self._network.note(DialFailed(target.node_id, str(self.refusal)))
            raise self.refusal
        if other is None or target.node_id not in other.identity.lineage:
            raise LookupFailed(f"no address is known for {target.node_id}")
        if self._connection is None or self._connection.closed:
            self._connection, far = connected(self.identity, other.identity)
            other._serve(far)
            remote = self._connection.remote
            self._network.note(ConnectionOpened(other.node_id, "memory", remote, True, None))
        return self._connection

    def lose(self, reason: str) -> None:
        """Have the path to the other node die, whoever opened the connection."""
        for here, there in ((self, self._other), (self._other, self)):
            if here is not None and there is not None:
                here._network.note(ConnectionLost(there.node_id, reason))
                if here._connection is not None:
                    here._connection.lose(reason)

    async def aclose(self) -> None:
        """Lose what is open, and wait for the proxies; raises what they raise."""
        self.lose("the test is over")
        await self._network.aclose()
        await self._reverse.aclose()
        await asyncio.gather(*self._serving)

    def _serve(self, connection: MemoryConnection) -> None:
        serving = serve_streams(connection, self._reverse)
        self._serving.add(asyncio.create_task(serving, name="a peer's connection"))


@asynccontextmanager
async def over_sockets(
    one: Identity, other: Identity
) -> AsyncIterator[tuple[JoinedNetwork, JoinedNetwork]]:
    """The networks of two nodes that can reach each other."""
    near, far = SocketNetwork.pair(one, other)
    try:
        yield near, far
    finally:
        await asyncio.gather(near.aclose(), far.aclose())
