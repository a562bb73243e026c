"""Who is behind which running connection of a proxy: a registry, and look-ups in it.

A local server sees its clients come from this node's own address; here it finds whose they are.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keynet.address import NodeId, SocketAddress
from keynet.identity import PeerIdentity
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.pipe import Traffic
from keynet.rpc.proxy.tcp import TcpEnd


@dataclass(frozen=True, slots=True)
class ProxiedConnection:
    """What is known of one running connection, at the time of asking."""

    peer: NodeId
    """The peer's current id."""
    matched: NodeId
    """The id by which it was dialled, or let in: the current one or an earlier one."""
    lineage: tuple[NodeId, ...]
    """All ids that the peer has proved, the current one first."""
    certificates: str
    """The chain that proved them: PEM, leaf first."""
    transport: str
    remote: SocketAddress
    """The peer's UDP address now."""
    local: SocketAddress | None
    """This side's UDP address."""
    service: int | str | None
    """The port asked for, or a built-in protocol's name; None for the only exposed one."""
    client: SocketAddress | None
    """Where the local connection comes from, as its server sees it; None for a Unix socket."""
    opened_at: float
    """Unix time in seconds."""
    bytes_to_peer: int
    bytes_from_peer: int


class _Entry:
    __slots__ = ("client", "end", "matched", "opened_at", "service", "stream", "traffic")

    def __init__(
        self,
        stream: ByteStream,
        matched: NodeId,
        service: int | str | None,
        client: SocketAddress | None,
        traffic: Traffic,
        end: TcpEnd | None,
    ) -> None:
        self.stream = stream
        self.matched = matched
        self.service = service
        self.client = client
        self.traffic = traffic
        self.end = end
        self.opened_at = time.time()

    def snapshot(self) -> ProxiedConnection:
        connection = self.stream.connection
        peer = connection.peer
        return ProxiedConnection(
            peer=peer.node_id,
            matched=self.matched,
            lineage=peer.lineage,
            certificates=peer.certificates_pem(),
            transport=connection.transport,
            remote=connection.remote,
            local=connection.local,
            service=self.service,
            client=self.client,
            opened_at=self.opened_at,
            bytes_to_peer=self.traffic.to_peer,
            bytes_from_peer=self.traffic.from_peer,
        )


class Audit:
    """The running connections of one proxy."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._by_client: dict[SocketAddress, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def running(
        self,
        stream: ByteStream,
        matched: NodeId,
        service: int | str | None,
        client: SocketAddress | None,
        traffic: Traffic,
        end: TcpEnd | None = None,
    ) -> Iterator[None]:
        """List a connection for as long as it runs.

        A stream may outlive its local connection `end`, whose port is then anybody's: without
        `end`, whoever takes that port meanwhile is found as this client.
        """
        entry = _Entry(stream, matched, service, client, traffic, end)
        self._entries[id(entry)] = entry
        if client is not None:
            self._by_client[client] = entry
        try:
            yield
        finally:
            del self._entries[id(entry)]
            if client is not None and self._by_client.get(client) is entry:
                del self._by_client[client]

    def connections(self) -> tuple[ProxiedConnection, ...]:
        """All of them, the oldest first."""
        return tuple(entry.snapshot() for entry in self._entries.values())

    def by_client(self, client: SocketAddress | tuple[Any, ...]) -> ProxiedConnection | None:
        """The connection whose local side comes from `client`; None when there is none.

        Takes what a socket's `getpeername` gives, too.
        """
        entry = self._find(client)
        return entry.snapshot() if entry is not None else None

    def identity_of(self, client: SocketAddress | tuple[Any, ...]) -> PeerIdentity | None:
        """Who the peer behind `client` has proved to be; None when it is no such connection."""
        entry = self._find(client)
        return entry.stream.connection.peer if entry is not None else None

    def by_peer(self, node_id: NodeId) -> tuple[ProxiedConnection, ...]:
        """All connections with the node that has, or had, that id; the oldest first."""
        entries = self._entries.values()
        return tuple(e.snapshot() for e in entries if e.stream.connection.peer.matches(node_id))

    def _find(self, client: SocketAddress | tuple[Any, ...]) -> _Entry | None:
        address = socket_address(client)
        entry = self._by_client.get(address) if address is not None else None
        if entry is None or (entry.end is not None and entry.end.closed):
            return None
        return entry


def canonical(address: SocketAddress) -> SocketAddress:
    """The address without the IPv6 clothing that a dual-stack server sees IPv4 clients in."""
    ip = ipaddress.ip_address(address.host)
    mapped = getattr(ip, "ipv4_mapped", None)
    return SocketAddress(str(mapped or ip), address.port)


def socket_address(name: object) -> SocketAddress | None:
    """What `getsockname` or `getpeername` gave, if it is an internet address."""
    match name:
        case (str(host), int(port), *_):
            return canonical(SocketAddress(host, port))
    return None
