"""Keeping connections on their peers' links: what links tell becomes sources for the
demultiplexer and changes of path for engines. No I/O of its own.
"""

from __future__ import annotations

from collections.abc import Hashable

from keynet.address import NodeId, SocketAddress
from keynet.errors import ConnectionLost
from keynet.signalling.link import Link
from keynet.signalling.link_events import (
    LinkEvent,
    LinkLost,
    PathDied,
    PathSelected,
    PathValidated,
)
from keynet.signalling.links import Links
from keynet.transport.connection import Connection
from keynet.udp.demux import Demultiplexer
from keynet.udp.path import Path


class Roaming:
    """Which connection follows which link. One at a time: the newest of each peer."""

    def __init__(self, links: Links, demux: Demultiplexer[Connection]) -> None:
        self._links = links
        self._demux = demux
        self._followers: dict[NodeId, Connection] = {}
        """By the id that the link goes by."""
        self._sources: dict[Connection, set[SocketAddress]] = {}
        self._ids: dict[Connection, frozenset[Hashable]] = {}

    def keep(self, connection: Connection) -> None:
        """What comes from a new connection's remote address is the connection's, and what carries
        one of its ids, wherever that comes from."""
        self._sources[connection], self._ids[connection] = set(), frozenset()
        self._bind(connection, connection.remote)
        self.drained(connection)

    def drained(self, connection: Connection) -> None:
        """The engine may have issued ids meanwhile, or retired some."""
        known, ids = self._ids.get(connection), connection.ids
        if known is None or ids is known:
            return
        self._ids[connection] = ids
        for connection_id in known - ids:
            self._demux.unbind_id(connection.transport, connection_id)
        for connection_id in ids - known:
            self._demux.bind_id(connection.transport, connection_id, connection)

    def dialling(self, connection: Connection, link: Link) -> None:
        """A dial goes over a link that has been punched."""
        self._follow(connection, link)

    def established(self, connection: Connection) -> None:
        """The peer has proved its id: the connection's path is one of the link's from now on."""
        path, peer = connection.attachment.path, connection.peer.node_id
        before = self._links.get(peer)
        if before is None or path.remote not in {state.path.remote for state in before.paths}:
            self._links.add_path(peer, path)
        self._follow(connection, self._links.to(peer))

    def told(self, link: Link, event: LinkEvent) -> None:
        """Do with the link's connection what its event asks for."""
        connection = self._followers.get(link.peer)
        if connection is None:
            return
        match event:
            case PathValidated(path):
                self._bind(connection, path.remote)
            case PathSelected(path, mtu, rtt):
                self._bind(connection, path.remote)
                connection.moved(path, mtu, rtt)
            case PathDied(path) if path.remote != connection.remote:
                self._unbind(connection, path.remote)
            case LinkLost(reason):
                connection.abort(ConnectionLost(reason))

    def forget(self, connection: Connection) -> None:
        """The connection has ended, and with it the link that nobody else holds."""
        for connection_id in self._ids.pop(connection, ()):
            self._demux.unbind_id(connection.transport, connection_id)
        for source in self._sources.pop(connection, ()):
            if self._demux.source_owner(source) is connection:
                self._demux.unbind_source(source)
        for node_id in [node_id for node_id, one in self._followers.items() if one is connection]:
            del self._followers[node_id]
            if node_id not in self._links.held:
                self._links.drop(node_id)

    def drop_unused(self, before: float) -> None:
        """Drop the links, older than `before`, that no connection uses and nobody holds."""
        for link in self._links:
            wanted = link.peer in self._links.held or link.peer in self._followers
            if not wanted and link.opened_at <= before:
                self._links.drop(link.peer)

    def _follow(self, connection: Connection, link: Link) -> None:
        self._followers[link.peer] = connection
        connection.attachment.link = link
        for state in link.paths:
            self._bind(connection, state.path.remote)
        in_use: Path | None = link.path
        if in_use is not None and in_use.remote != connection.remote:
            connection.moved(in_use, link.mtu(in_use), link.rtt)

    def _bind(self, connection: Connection, source: SocketAddress) -> None:
        self._sources[connection].add(source)
        self._demux.bind_source(source, connection, connection.transport)

    def _unbind(self, connection: Connection, source: SocketAddress) -> None:
        self._sources[connection].discard(source)
        if self._demux.source_owner(source) is connection:
            self._demux.unbind_source(source)
