"""The connections of a host, counted by where their peers are, and who has to go for a newcomer.

A node id costs nothing, so no number of identities may fill a host from one place. Decisions only:
the host does what comes of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.transport.connection import Connection

_IPV6_HOST_BITS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections a host keeps. Those that it dials itself are never refused."""

    connections: int = 4096
    per_network: int = 256
    """From one IPv4 address, or one IPv6 /64: what one household has, or one carrier's NAT."""


USUAL = Limits()


def network(address: SocketAddress) -> int:
    """What all addresses of one IPv4 host, or of one IPv6 /64, have in common."""
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv4Address):
        return int(ip)
    if ip.ipv4_mapped is not None:
        return int(ip.ipv4_mapped)
    return int(ip) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS


class Crowd:
    """The connections there are, in the order in which they came."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: dict[Connection, int] = {}
        self._by_network: dict[int, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        """A snapshot: connections may come and go meanwhile."""
        return iter(list(self._all))

    def add(self, connection: Connection) -> None:
        place = self._all[connection] = network(connection.remote)
        self._by_network.setdefault(place, {})[connection] = None

    def discard(self, connection: Connection) -> None:
        """Idempotent."""
        place = self._all.pop(connection, None)
        if place is None:
            return
        neighbours = self._by_network[place]
        del neighbours[connection]
        if not neighbours:
            del self._by_network[place]

    def in_the_way_of(self, newcomer: SocketAddress) -> Collection[Connection]:
        """Of whom one must go before another may come from there; nobody when there is room."""
        neighbours = self._by_network.get(network(newcomer), {})
        if len(neighbours) >= self._limits.per_network:
            return neighbours
        return self._all if len(self._all) >= self._limits.connections else ()


def idlest(crowd: Collection[Connection]) -> Connection | None:
    """Who is missed least: a peer that dialled us, and has had no stream for the longest time."""
    idle = [
        one
        for one in crowd
        if one.established_at is not None and not one.dialed and not one.stream_count
    ]
    return min(idle, key=lambda one: one.idle_since, default=None)
