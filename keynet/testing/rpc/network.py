"""Two nodes' networks joined in memory: what a binding over byte streams needs, and no sockets.

It runs on the virtual-time loop as well as on a real one. Nothing here knows of calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from keynet.address import NodeId
from keynet.errors import KeynetError, LookupFailed, ProxyRefused
from keynet.identity import Identity
from keynet.rpc.api import ByteStream, Network, StreamHandler
from keynet.testing.streams import MemoryConnection, connected


class JoinedNetwork(Network, Protocol):
    """One of two nodes' networks, and what a check does to it."""

    identity: Identity
    refusal: KeynetError | None
    """Why no stream can be opened, when that is to be."""
    opened: int
    """Streams that this side has opened."""

    def lose(self, reason: str) -> None:
        """Have the path to the other node die."""

    async def aclose(self) -> None:
        """Lose what is open, and wait for what is served; raises what that raises."""


class MemoryNetwork:
    """One node's `Network`; there is one other node. Make two with `MemoryNetwork.pair`."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.refusal: KeynetError | None = None
        """Raised by every `open_stream`, when it is set."""
        self.opened = 0
        """Streams that this side has opened."""
        self._handlers: dict[str, StreamHandler] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._other: MemoryNetwork | None = None
        self._near: MemoryConnection | None = None
        self._far: MemoryConnection | None = None

    @classmethod
    def pair(cls, one: Identity, other: Identity) -> tuple[MemoryNetwork, MemoryNetwork]:
        here, there = cls(one), cls(other)
        here._other, there._other = there, here
        return here, there

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        if self.refusal is not None:
            raise self.refusal
        other = self._other
        if other is None or node_id not in other.identity.lineage:
            raise LookupFailed(f"no address is known for {node_id}")
        handler = other._handlers.get(protocol)
        if handler is None:
            raise ProxyRefused(404, f"the peer does not speak {protocol}")
        near, far = self._connection(other)
        stream = await near.open_stream()
        other._serve(handler, await far.accept_stream())
        self.opened += 1
        return stream

    def serve_protocol(self, protocol: str, handler: StreamHandler | None) -> None:
        if handler is None:
            self._handlers.pop(protocol, None)
        else:
            self._handlers[protocol] = handler

    def lose(self, reason: str) -> None:
        """Have the path to the other node die, whoever opened the connection."""
        for network in (self, self._other):
            if network is not None and network._near is not None:
                network._near.lose(reason)

    async def aclose(self) -> None:
        """Lose what is open, and wait for the handlers; raises what they raise."""
        self.lose("the test is over")
        await asyncio.gather(*self._serving)

    def _connection(self, other: MemoryNetwork) -> tuple[MemoryConnection, MemoryConnection]:
        """The connection to the other node that this side dialled: the open one, or a new one."""
        if self._near is None or self._far is None or self._near.closed:
            self._near, self._far = connected(self.identity, other.identity)
        return self._near, self._far

    def _serve(self, handler: StreamHandler, stream: ByteStream) -> None:
        task = asyncio.create_task(_handle(handler, stream), name="a peer's stream")
        self._serving.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._serving.discard(task)


@asynccontextmanager
async def in_memory(
    one: Identity, other: Identity
) -> AsyncIterator[tuple[JoinedNetwork, JoinedNetwork]]:
    """The networks of two nodes that can reach each other."""
    near, far = MemoryNetwork.pair(one, other)
    try:
        yield near, far
    finally:
        await asyncio.gather(near.aclose(), far.aclose())


async def _handle(handler: StreamHandler, stream: ByteStream) -> None:
    try:
        await handler(stream, b"")
    except KeynetError:
        return  # the stream broke: the handler's caller expects that
    finally:
        stream.reset()
