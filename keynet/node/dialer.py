"""From a node id to a live connection: an open one, an address that was given, static peers.

Injected into the forward proxy as its `Dialer`. Each address is tried in turn; the dial itself,
and its coalescing, is the host's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from keynet.address import NodeId, SocketAddress
from keynet.config import StaticPeer
from keynet.config.values import check_peer_address
from keynet.errors import ConfigError, DeadlineExceeded, KeynetError, LookupFailed
from keynet.node.events import DialFailed, NodeEvent
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.forward import resolve_by_system

if TYPE_CHECKING:
    from keynet.transport.connection import Connection
    from keynet.transport.host import Host

MAX_ADDRESSES = 8
"""Addresses tried for one peer."""
ADDRESS_TIMEOUT = 4.0
"""Seconds that one address has to answer, when there is another one to try."""
DEADLINE_SHARE = 0.95
"""How much of a CONNECT's deadline a dial may take: it ends first, since it can say what failed."""


class PeerDialer:
    """Connects to peers for the node and its forward proxy."""

    def __init__(
        self,
        host: Host,
        peers: Iterable[StaticPeer],
        *,
        transport: str,
        local: Sequence[SocketAddress],
        publish: Callable[[NodeEvent], None],
        deadline: float,
    ) -> None:
        """`local` are this node's UDP addresses; `deadline` is a whole CONNECT's, in seconds."""
        self._host = host
        self._transport = transport
        self._families = {address.is_ipv6 for address in local}
        self._publish = publish
        self._timeout = deadline * DEADLINE_SHARE
        self._peers: dict[NodeId, list[StaticPeer]] = {}
        for peer in peers:
            self._peers.setdefault(peer.node_id, []).append(peer)

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
                return await self._dial(target.node_id, await self._addresses(target), tried)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"no answer{_from(tried)} within {self._timeout:g} s: is node {target.node_id} "
                "running, is that its address, and can UDP pass?"
            ) from error

    async def _addresses(self, target: Target) -> list[SocketAddress]:
        if target.address is not None:
            return [target.address]
        peers = self._peers.get(target.node_id)
        if peers is None:
            raise LookupFailed(
                f"no address is known for {target.node_id}: give one with "
                f"--peer {target.node_id}@HOST:PORT"
            )
        found: list[SocketAddress] = []
        failure: LookupFailed | None = None
        for peer in peers:
            try:
                found += await resolve_by_system(peer.address.host, peer.address.port)
            except LookupFailed as error:
                failure = error
        if not found and failure is not None:
            raise failure
        for address in found:
            check_peer_address(address)
        return self._reachable(found)[:MAX_ADDRESSES]

    def _reachable(self, found: list[SocketAddress]) -> list[SocketAddress]:
        """Those that a socket of this node has the family for; all when none is, so as to fail."""
        distinct = list(dict.fromkeys(found))
        return [address for address in distinct if address.is_ipv6 in self._families] or distinct

    async def _dial(
        self, node_id: NodeId, addresses: list[SocketAddress], tried: list[SocketAddress]
    ) -> Connection:
        failure: KeynetError = LookupFailed(f"no address is known for {node_id}")
        for address in addresses:
            tried.append(address)
            patience = None if address == addresses[-1] else ADDRESS_TIMEOUT
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
