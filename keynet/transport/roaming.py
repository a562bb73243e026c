"""Keeping connections on their peers' links: what links tell becomes sources for the
demultiplexer and changes of path for engines. No I/O of its own.

Two nodes that dial each other at once have two connections for a while. An address can only be one
connection's source, so that the newest follows the link and the other stays where it is, until one
of them ends.
"""

from __future__ import annotations

from collections.abc import Hashable

from keynet.address import NodeId, SocketAddress
from keynet.errors import ConnectionLost, KeynetError
from keynet.identity import PeerIdentity
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

    def proved(self, connection: Connection) -> None:
        """The peer has proved its id, or a newer one: the connection's path is one of the link's.

        Ends a connection that can have no link: the id is no key to agree on another with.
        """
        try:
            self._join(connection)
        except KeynetError as error:
            connection.abort(error)

    def _join(self, connection: Connection) -> None:
        self._rename(connection.peer)
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
                if self._bind(connection, path.remote):
                    connection.moved(path, mtu, rtt)
            case PathDied(path, reason):
                self._leave(connection, path, link, reason)
            case LinkLost(reason):
                for one in [one for one in self._sources if _is_with(one, link.peer)]:
                    one.abort(ConnectionLost(reason))
                connection.abort(ConnectionLost(reason))

    def forget(self, connection: Connection) -> None:
        """The connection has ended, and with it the link that nobody else holds."""
        for connection_id in self._ids.pop(connection, ()):
            self._demux.unbind_id(connection.transport, connection_id)
        for source in self._sources.pop(connection, ()):
            if self._demux.source_owner(source) is connection:
                self._demux.unbind_source(source)
        link = connection.attachment.link
        if link is None:
            return
        if self._followers.get(link.peer) is connection:
            del self._followers[link.peer]
        if self._links.get(link.peer) is not link:  # it was lost, and with it the connection
            return
        heir = self._followers.get(link.peer) or self._another(link.peer)
        if heir is not None:
            self._lead(heir, link)  # it stays where it is: the peer may not know of the end yet
        elif not self._links.is_held(link):
            self._links.drop(link.peer)

    def drop_unused(self, before: float) -> None:
        """Drop the links, older than `before`, that no connection uses and nobody holds, and that
        are not being punched."""
        for link in self._links:
            wanted = link.peer in self._followers or self._links.is_held(link)
            if not (wanted or link.is_punching) and link.opened_at <= before:
                self._links.drop(link.peer)

    def _rename(self, peer: PeerIdentity) -> None:
        """A link that goes by an earlier id of the peer goes by the current one now."""
        for old in peer.lineage:
            if old != peer.node_id:
                self._links.renamed(old, peer.node_id)
                if old in self._followers:
                    self._followers.setdefault(peer.node_id, self._followers.pop(old))

    def _follow(self, connection: Connection, link: Link) -> None:
        self._lead(connection, link)
        in_use: Path | None = link.path
        if in_use is not None and self._demux.source_owner(in_use.remote) is connection:
            connection.moved(in_use, link.mtu(in_use), link.rtt)

    def _lead(self, connection: Connection, link: Link) -> None:
        self._followers[link.peer] = connection
        connection.attachment.link = link
        for state in link.paths:
            self._bind(connection, state.path.remote)

    def _leave(self, follower: Connection, path: Path, link: Link, reason: str) -> None:
        """A path is dead: who follows the link is off to another, who does not is lost."""
        for one in [one for one in self._sources if _is_with(one, link.peer)]:
            if one is not follower and one.remote == path.remote:
                one.abort(ConnectionLost(reason))
        if path.remote != follower.remote:
            self._unbind(follower, path.remote)
        elif link.path is not None:
            self._take(follower, link.path.remote)
            follower.moved(link.path, link.mtu(link.path), link.rtt)

    def _another(self, node_id: NodeId) -> Connection | None:
        return next((one for one in self._sources if _is_with(one, node_id)), None)

    def _bind(self, connection: Connection, source: SocketAddress) -> bool:
        """Whether what comes from there is the connection's now, and not another one's."""
        owner = self._demux.source_owner(source)
        if owner is not None and owner is not connection and owner.remote == source:
            return False
        self._take(connection, source)
        return True

    def _take(self, connection: Connection, source: SocketAddress) -> None:
        self._sources[connection].add(source)
        self._demux.bind_source(source, connection, connection.transport)

    def _unbind(self, connection: Connection, source: SocketAddress) -> None:
        self._sources[connection].discard(source)
        if self._demux.source_owner(source) is connection:
            self._demux.unbind_source(source)


def _is_with(connection: Connection, node_id: NodeId) -> bool:
    """Whether it is a live connection with that peer."""
    live = connection.established_at is not None and not connection.closed
    return live and connection.peer.node_id == node_id
