"""From a node id to a live connection: an open one, an address that was given, static peers.

Injected into the forward proxy as its `Dialer`. Each address is tried in turn; the dial itself,
and its coalescing, is the host's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from keynet.address import NodeId, SocketAddress
from keynet.errors import ConfigError, DeadlineExceeded, KeynetError, LookupFailed
from keynet.node.events import DialFailed, NodeEvent
from keynet.rpc.proxy.api import Target
from keynet.udp.path import Path

if TYPE_CHECKING:
    from keynet.node.statics import Statics
    from keynet.transport.connection import Connection
    from keynet.transport.host import Host

ADDRESS_TIMEOUT = 4.0
"""Seconds that one address has to answer, when there is another one to try."""
DEADLINE_SHARE = 0.95
"""How much of a CONNECT's deadline a dial may take: it ends first, since it can say what failed."""


Meet = Callable[[NodeId], Awaitable[Path]]
"""Gives a validated path to a node. Raises LookupFailed, PunchFailed or IdentityError."""


class PeerDialer:
    """Connects to peers for the node and its forward proxy."""

    def __init__(
        self,
        host: Host,
        statics: Statics,
        *,
        transport: str,
        publish: Callable[[NodeEvent], None],
        deadline: float,
    ) -> None:
        """`deadline` is a whole CONNECT's, in seconds."""
        self.meet: Meet | None = None
        """Opens a path to a peer whose address is not known, or does not answer."""
        self._host = host
        self._transport = transport
        self._statics = statics
        self._publish = publish
        self._timeout = deadline * DEADLINE_SHARE

    async def connect(self, target: Target) -> Connection:
        """A live connection to `target.node_id`; `target.port` means nothing here.

        Raises ConfigError for this node's own id, LookupFailed when no address is known,
        DeadlineExceeded when none answers in time, else what the last address failed with.
        Cancellable.
        """
        connection = self._host.connection(target.node_id)
        if connection is not None and not (connection.closing or connection.closed):
            return connection
        tried: list[SocketAddress] = []
        try:
            return await self._in_time(target, tried)
        except KeynetError as error:
            self._publish(DialFailed(target.node_id, str(error), tuple(tried)))
            raise
        except asyncio.CancelledError:
            reason = f"given up by all who waited for it, before an answer{_from(tried)}"
            self._publish(DialFailed(target.node_id, reason, tuple(tried)))
            raise

    async def _in_time(self, target: Target, tried: list[SocketAddress]) -> Connection:
        if target.node_id in self._host.identity.lineage:
            raise ConfigError(
                f"{target.node_id} is this node itself: connect to its server outright"
            )
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._reach(target, tried)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(self._why_late(target.node_id, tried)) from error

    def _why_late(self, node_id: NodeId, tried: list[SocketAddress]) -> str:
        if not tried:
            return (
                f"no path to node {node_id} was opened within {self._timeout:g} s: "
                f"keynet why {node_id} tells what was tried"
            )
        return (
            f"no answer{_from(tried)} within {self._timeout:g} s: is node {node_id} running, "
            "is that its address, and can UDP pass?"
        )

    async def _reach(self, target: Target, tried: list[SocketAddress]) -> Connection:
        """By a path that is open, by an address that is known; else by one that is punched."""
        addresses = await self._addresses(target)
        if addresses:
            try:
                return await self._dial(target.node_id, addresses, tried)
            except KeynetError:
                if target.address is not None or self.meet is None:
                    raise
        assert self.meet is not None  # else there were addresses, or an error
        path = await self.meet(target.node_id)
        return await self._dial(target.node_id, [path.remote], tried)

    async def _addresses(self, target: Target) -> list[SocketAddress]:
        """Where to dial at once; none when a seed must be asked."""
        if target.address is not None:
            return [target.address]
        link = self._host.links.get(target.node_id)
        if link is not None and link.path is not None:
            return [link.path.remote]
        if target.node_id in self._statics or self.meet is not None:
            return await self._statics.addresses(target.node_id)
        raise LookupFailed(
            f"no address is known for {target.node_id}: give one with "
            f"--peer {target.node_id}@HOST:PORT, or a seed that knows it with --seed"
        )

    async def _dial(
        self, node_id: NodeId, addresses: list[SocketAddress], tried: list[SocketAddress]
    ) -> Connection:
        failure: KeynetError = LookupFailed(f"no address is known for {node_id}")
        for address in addresses:
            tried.append(address)
            others = address != addresses[-1] or self.meet is not None
            patience = ADDRESS_TIMEOUT if others else None
            try:
                async with asyncio.timeout(patience):
                    return await self._host.connect(node_id, address, transport=self._transport)
            except KeynetError as error:
                failure = error
            except TimeoutError:
                failure = DeadlineExceeded(f"{address} did not answer within {patience:g} s")
        raise failure


def _from(addresses: Sequence[SocketAddress]) -> str:
    return f" from {', '.join(str(address) for address in addresses)}" if addresses else ""
