"""Peers whose addresses are known outright: where they are, and pings to them until they answer.

With the other's public address given on both sides, this opens both NATs without any seed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from keynet.address import NodeId, SocketAddress
from keynet.config import StaticPeer
from keynet.config.values import check_peer_address
from keynet.errors import ConfigError, KeynetError, LookupFailed
from keynet.rpc.proxy.forward import resolve_by_system
from keynet.signalling.links import Links

PING_INTERVAL = 5.0
"""Seconds between pings to a peer that has not answered."""
MAX_ADDRESSES = 8
"""Addresses tried for one peer."""

log = logging.getLogger(__name__)


class Statics:
    """The static peers of a node; may be changed while it runs."""

    def __init__(
        self,
        peers: Iterable[StaticPeer],
        local: Sequence[SocketAddress],
        seeds: Iterable[StaticPeer] = (),
    ) -> None:
        """`local` are the node's own sockets: only their families can be reached. `seeds` are
        known as peers are, but not pinged: they are public, and answer whoever dials."""
        self._families = {address.is_ipv6 for address in local}
        self._peers: dict[NodeId, list[StaticPeer]] = {}
        for peer in (*peers, *seeds):
            self.add(peer)
        self._seeds = {seed.node_id for seed in seeds}

    def __iter__(self) -> Iterator[StaticPeer]:
        return (peer for peers in self._peers.values() for peer in peers)

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._peers

    @property
    def to_ping(self) -> tuple[NodeId, ...]:
        """Whose NAT, and ours towards them, a ping may open."""
        return tuple(node_id for node_id in self._peers if node_id not in self._seeds)

    def add(self, peer: StaticPeer) -> None:
        """Know one more address."""
        known = self._peers.setdefault(peer.node_id, [])
        if peer not in known:
            known.append(peer)

    def remove(self, node_id: NodeId) -> None:
        """Forget every address of a node. Raises ConfigError when none is known."""
        if self._peers.pop(node_id, None) is None:
            raise ConfigError(f"no address of {node_id} was given")

    async def addresses(self, node_id: NodeId) -> list[SocketAddress]:
        """Where a node is said to be; none when nothing is known.

        Raises LookupFailed when its names cannot be looked up, ConfigError for an address that is
        no node's.
        """
        found: list[SocketAddress] = []
        failure: LookupFailed | None = None
        for peer in self._peers.get(node_id, ()):
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


async def keep_pinging(
    statics: Statics,
    links: Links,
    ping: Callable[[NodeId, Sequence[SocketAddress]], None],
) -> None:
    """Ping every static peer that has no path yet, for ever; cancel it to stop."""
    while True:
        for node_id in statics.to_ping:
            link = links.get(node_id)
            links.held.add(node_id)
            if link is not None and link.path is not None:
                continue
            try:
                ping(node_id, await statics.addresses(node_id))
            except KeynetError as error:
                log.info("%s cannot be pinged: %s", node_id.short, error)
        links.held.intersection_update(statics.to_ping)
        await asyncio.sleep(PING_INTERVAL)
