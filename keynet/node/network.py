"""A node as RPC bindings see it: streams to and from peers, by the name of a built-in protocol.

Which bindings there are, and what they serve, is `rpc.py`'s; how peers are found, `dialer.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from keynet.address import NodeId
from keynet.errors import DeadlineExceeded, KeynetError
from keynet.identity import Identity, PeerIdentity, verify_chain
from keynet.node.events import NodeEvent
from keynet.node.private_proxy import PrivateProxy
from keynet.node.reasons import Reasons
from keynet.rpc.api import ByteConnection, ByteStream, StreamHandler
from keynet.rpc.proxy.api import Dialer, ProxyAccess, Target
from keynet.rpc.proxy.local_stream import LocalConnection, stream_pair
from keynet.rpc.proxy.opening import Preceded, open_tunnel, reach
from keynet.rpc.proxy.reverse import ReverseProxy


class NodeNetwork:
    """The `ProxiedNetwork` of one node. Close it with `aclose`, after the bindings."""

    def __init__(
        self,
        identity: Callable[[], Identity],
        dialer: Dialer,
        reverse_proxy: ReverseProxy,
        *,
        deadline: float,
    ) -> None:
        """`deadline` is what opening one stream may take, in seconds."""
        self._identity = identity
        self._reverse_proxy = reverse_proxy
        self._deadline = deadline
        self._reasons = Reasons()
        self._dialer = _OwnDialer(dialer, identity, self._serve_own)
        self._private_proxy = PrivateProxy(self._dialer, deadline)
        self._own_streams: set[asyncio.Task[None]] = set()

    @property
    def node_id(self) -> NodeId:
        return self._identity().node_id

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        """A new stream to that peer's `protocol`; of this node itself, too."""
        target = Target(node_id, builtin=protocol)
        limit = asyncio.timeout(self._deadline)
        try:
            async with limit:
                stream, early = await open_tunnel(await reach(self._dialer, target), target)
        except TimeoutError as error:
            if isinstance(error, KeynetError) or not limit.expired():
                raise
            raise DeadlineExceeded(
                f"no answer from {node_id} within {self._deadline:g} s to a stream for {protocol}"
            ) from error
        return Preceded(stream, early) if early else stream

    def serve_protocol(self, protocol: str, handler: StreamHandler | None) -> None:
        """Hand peers' streams to `protocol` to `handler`; None refuses them again."""
        self._reverse_proxy.serve_protocol(protocol, handler)

    async def proxy(self) -> ProxyAccess:
        """A forward proxy for this process alone, opened at the first call."""
        return await self._private_proxy.open()

    def why(self, node_id: NodeId) -> str | None:
        """The latest trouble with that peer since the last connection to it."""
        return self._reasons.of(node_id)

    def note(self, event: NodeEvent) -> None:
        """Learn from the node's events why peers cannot be reached."""
        self._reasons.note(event)

    async def aclose(self) -> None:
        """Close the private proxy, and this node's streams to itself. Idempotent."""
        await self._private_proxy.aclose()
        for task in self._own_streams:
            task.cancel()
        await asyncio.gather(*self._own_streams, return_exceptions=True)

    def _serve_own(self, stream: ByteStream) -> None:
        task = asyncio.create_task(self._reverse_proxy.serve(stream), name="serve this node itself")
        self._own_streams.add(task)
        task.add_done_callback(self._own_streams.discard)
        task.add_done_callback(lambda _: stream.reset())


class _OwnDialer:
    """The node's dialer, which knows the way to the node itself as well."""

    def __init__(
        self,
        dialer: Dialer,
        identity: Callable[[], Identity],
        serve: Callable[[ByteStream], None],
    ) -> None:
        self._dialer = dialer
        self._identity = identity
        self._serve = serve

    async def connect(self, target: Target) -> ByteConnection:
        identity = self._identity()
        if target.node_id not in identity.lineage:
            return await self._dialer.connect(target)
        return _OwnConnection(verify_chain(identity.chain, None), self._serve)


class _OwnConnection(LocalConnection):
    """This node's connection to itself: it is asked as every peer is."""

    def __init__(self, peer: PeerIdentity, serve: Callable[[ByteStream], None]) -> None:
        super().__init__(peer)
        self._serve = serve

    async def open_stream(self) -> ByteStream:
        near, far = await stream_pair(self)
        self._serve(far)
        return near
