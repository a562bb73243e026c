"""All connections of one endpoint: it dials, it listens, and it routes what arrives.

One connection per peer, found by any node id of the peer's chain. Whoever has not proved an
identity yet is provisional, and of those there is a bounded number.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Sequence

from keynet.address import NodeId, SocketAddress
from keynet.engine import Datagrams
from keynet.errors import (
    ClosedError,
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    HandshakeFailed,
    IdentityError,
    KeynetError,
    LocallyClosed,
    LocalProtocolError,
    PeerReplaced,
    UnclaimedNodeId,
)
from keynet.identity import Identity
from keynet.signalling.attachment import Attachment
from keynet.signalling.link import Link
from keynet.signalling.link_events import LinkEvent
from keynet.signalling.links import Links
from keynet.signalling.settings import LinkSettings
from keynet.transport.api import Transport, TransportEngine
from keynet.transport.arrivals import Arrivals
from keynet.transport.connection import Connection
from keynet.transport.crowd import USUAL, Crowd, Limits, idlest
from keynet.transport.refusals import Refusals
from keynet.transport.roaming import Roaming
from keynet.udp.api import Endpoint
from keynet.udp.demux import Demultiplexer, Kind
from keynet.udp.path import Path

log = logging.getLogger(__name__)

MAX_PROVISIONAL = 256
"""Answered first datagrams whose senders have proved nothing yet; beyond it one has to go."""
STRANGER_PATIENCE = 1.0
"""Seconds that a dial to an address waits for a stranger there who is dialling us."""
IDLE_TIMEOUT = 60.0
"""Seconds after which a connection without streams is forgotten; a new dial is cheap."""
HANDSHAKE_TIMEOUT = 20.0
"""Seconds within which a peer must have proved its identity; transports may give up sooner."""
REAP_INTERVAL = 5.0
FULL_FOR = 1.0
"""Seconds after which a full host looks again whether somebody is idle."""


class Host:
    """Dials and answers over one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        transports: Sequence[Transport],
        limits: Limits = USUAL,
        *,
        link_settings: LinkSettings | None = None,
    ) -> None:
        """`transports` in order of preference; the first one dials by default."""
        if not transports:
            raise ConfigError("a host needs at least one transport")
        self._identity = identity
        self._endpoint = endpoint
        self._transports = {transport.name: transport for transport in transports}
        self.transports = tuple(self._transports)
        self._loop = asyncio.get_running_loop()
        self._demux: Demultiplexer[Connection] = Demultiplexer(transports)
        self.links = Links(
            endpoint,
            identity,
            self._link_told,
            settings=link_settings,
        )
        """The links to peers, connected or not."""
        self.link_watchers: list[Callable[[Link, LinkEvent], None]] = []
        """Hear of everything that happens to links, after the connections have."""
        self._roaming = Roaming(self.links, self._demux)
        self._connections = Crowd(limits)
        self._by_peer: dict[NodeId, Connection] = {}
        self._provisional: dict[Connection, bool] = {}
        """Whether each has been heard again since its first datagram, as forged ones are not."""
        self._outdated: dict[Connection, None] = {}
        """Those that are told of our newer identity once the handshake with the older is done."""
        self._touched: dict[Connection, None] = {}
        self._arrived: Arrivals[Connection] = Arrivals()
        self._closed = False
        self._evicted = 0
        self._refusals = Refusals(transports)
        self._full_until = 0.0
        self._turned_away = 0
        self._reaper = self._loop.call_later(REAP_INTERVAL, self._reap)
        endpoint.set_receiver(self)

    # Connections

    @property
    def identity(self) -> Identity:
        """What is proved to peers. It may be replaced by a newer one of the same lineage: whatever
        begins from then on, streams of open connections too, proves that."""
        return self._identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self._identity = self.links.identity = identity
        for connection in self._connections:
            if connection.established_at is None:
                self._outdated[connection] = None
            else:
                connection.identity_changed(identity)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those whose peers have proved their identity."""
        return tuple(c for c in self._connections if c.established_at is not None)

    def connection(self, node_id: NodeId) -> Connection | None:
        """The live connection to a node, by any id of its chain."""
        return self._by_peer.get(node_id)

    async def connect(
        self, node_id: NodeId, remote: SocketAddress, *, transport: str | None = None
    ) -> Connection:
        """A connection to `node_id`: the live one, or a new one to `remote`.

        Simultaneous calls share one dial, which ends when the last caller leaves. Raises
        ConnectError, IdentityError, DeadlineExceeded or ConfigError (unknown transport).
        """
        connection = await self._established(node_id, remote, transport)
        for _ in range(2):  # the first stream, if still unused, proves what was true at the dial
            if not connection.peer.matches(node_id):
                await self._ask_who_is_there(connection)
                connection = await self._established(node_id, remote, transport)
        if not connection.peer.matches(node_id):
            raise UnclaimedNodeId(f"{remote} is {connection.peer.node_id}, not {node_id}")
        return connection

    async def _established(
        self, node_id: NodeId, remote: SocketAddress, transport: str | None
    ) -> Connection:
        """The connection to `node_id`, or to whoever is at `remote`, once the handshake is done."""
        connection = await self._connection_to(node_id, remote, transport)
        connection.waiters += 1
        try:
            await connection.wait_established()
        except ClosedError as error:
            raise HandshakeFailed(f"{node_id.short} at {remote}: {error}") from error
        finally:
            connection.waiters -= 1
            if not connection.waiters and connection.dialed and not connection.established_at:
                connection.close()
        return connection

    async def _ask_who_is_there(self, connection: Connection) -> None:
        """Let a new stream prove it: the peer may have a newer id, or have left the address."""
        try:
            (await connection.open_stream()).reset()
        except PeerReplaced:
            await connection.wait_closed()
        except (IdentityError, ClosedError):
            return  # what is known of the connection is all that can be known now

    async def _connection_to(
        self, node_id: NodeId, remote: SocketAddress, transport: str | None
    ) -> Connection:
        """What to wait for: a live connection, a dial under way, or a new dial."""
        while True:
            connection = self._by_peer.get(node_id) or self._demux.source_owner(remote)
            if connection is None:
                return self._dial(node_id, remote, transport)
            if connection.closing:
                await connection.wait_closed()
            elif connection.dialed or connection.established_at is not None:
                return connection
            else:
                await self._outwait(connection)

    async def _outwait(self, stranger: Connection) -> None:
        """Somebody at that address began to dial: the peer, or a forged first datagram."""
        try:
            async with asyncio.timeout(STRANGER_PATIENCE):
                await stranger.wait_established()
        except (TimeoutError, KeynetError):
            stranger.abort(HandshakeFailed("it was too slow, and is dialled instead"))

    def _dial(self, node_id: NodeId, remote: SocketAddress, name: str | None) -> Connection:
        if self._closed:
            raise LocallyClosed("the host is closed")
        transport = self._transport(name)
        link = self.links.over(remote)
        attachment = Attachment(self._endpoint, Path(remote), link)
        engine = transport.connect(attachment, self.identity, node_id, self._loop.time())
        connection = self._keep(engine, attachment, transport.name)
        connection.dialed = True
        if link is not None:
            self._roaming.dialling(connection, link)
        return connection

    def _keep(self, engine: TransportEngine, attachment: Attachment, name: str) -> Connection:
        connection = Connection(
            engine, attachment, name, self._established_with, self._know, self._forget
        )
        self._connections.add(connection)
        self._roaming.keep(connection)
        return connection

    def _transport(self, name: str | None) -> Transport:
        if name is None:
            return next(iter(self._transports.values()))
        if name not in self._transports:
            known = ", ".join(self._transports)
            raise ConfigError(f"no transport called {name!r} is running here; there is {known}")
        return self._transports[name]

    async def accept(self) -> Connection:
        """The next connection that a peer made and proved its identity on.

        Raises LocallyClosed once the host is closed, ConnectionLost when its socket broke.
        """
        return await self._arrived.get()

    async def aclose(self) -> None:
        """End every connection cleanly, within about a second. The endpoint stays open."""
        self._closed = True
        self._reaper.cancel()
        self._arrived.end(LocallyClosed("the host is closed"))
        self.links.close()
        await asyncio.gather(*(c.aclose() for c in self._connections))

    def stats(self) -> dict[str, int]:
        """Counters and gauges for people."""
        return {
            "connections": len(self._connections) - len(self._provisional),
            "provisional": len(self._provisional),
            "evicted": self._evicted,
            "turned away": self._turned_away,
            "links": len(self.links),
            **{f"dropped {drop.value}": count for drop, count in self._demux.drops.items()},
        }

    # What the endpoint tells

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        runs = self._demux.route(datagrams, path.remote)
        if not runs:
            self._refuse(datagrams, path, now)
        for routed in runs:
            if routed.owner is not None:
                self._hand_to(routed.owner, routed.datagrams, now)
            elif routed.transport is not None:
                transport = self._transports[routed.transport.name]
                self._receive_first(transport, routed.datagrams, path, now)
            elif routed.kind is Kind.STUN:
                self.links.stun_received(routed.datagrams.data, path, now)

    def _hand_to(self, connection: Connection, datagrams: Datagrams, now: float) -> None:
        """An engine never raises for what the bytes are; should one, only its peer may suffer."""
        self._touched[connection] = None
        if connection in self._provisional:
            self._provisional[connection] = True
        try:
            connection.datagrams_received(datagrams, now)
        except Exception as error:
            log.exception("the transport %s failed", connection.transport)
            connection.abort(LocalProtocolError(f"a bug in {connection.transport}: {error!r}"))

    def _refuse(self, datagrams: Datagrams, path: Path, now: float) -> None:
        """Tell a stranger that nothing is known of its connection; but not one that may be a peer
        whose address has changed: its pings will show that."""
        first = next(iter(datagrams), b"")
        answer = self._refusals.answer(first, now)
        if answer and not any(connection.owns(first) for connection in self._connections):
            self._endpoint.send(Datagrams(answer), path)

    def _receive_first(
        self, transport: Transport, datagrams: Datagrams, path: Path, now: float
    ) -> None:
        """A stranger's first datagram: answer it, but keep only so many strangers."""
        if self._closed:
            return
        if not self._make_room(path.remote, now):
            self._turned_away += 1
            return
        attachment = Attachment(self._endpoint, path)
        engine = transport.accept(attachment, datagrams, self.identity, now)
        self._provisional[self._keep(engine, attachment, transport.name)] = False

    def _make_room(self, newcomer: SocketAddress, now: float) -> bool:
        """Let somebody go where there are too many, so that neither a flood of first datagrams nor
        connections that rest keep honest dialers out; False when everybody is at work."""
        crowd = self._connections.in_the_way_of(newcomer)
        if crowd and not self._evict(self._unheard(crowd)) and not self._dismiss(crowd, now):
            return False
        if len(self._provisional) >= MAX_PROVISIONAL:
            self._evict(self._unheard(self._provisional) or list(self._provisional))
        return True

    def _unheard(self, crowd: Collection[Connection]) -> list[Connection]:
        """Strangers who have said nothing after their first datagram, as forged ones cannot."""
        return [one for one, heard in self._provisional.items() if not heard and one in crowd]

    def _evict(self, strangers: Sequence[Connection]) -> bool:
        """End one handshake, at random: were it always the oldest, a flood would end them all."""
        if not strangers:
            return False
        self._evicted += 1
        random.choice(strangers).abort(HandshakeFailed("too many dialers at once"))
        return True

    def _dismiss(self, crowd: Collection[Connection], now: float) -> bool:
        """End the connection that is missed least, if one rests."""
        if now < self._full_until:
            return False
        victim = idlest(crowd)
        if victim is None:
            self._full_until = now + FULL_FOR
            return False
        victim.abort(LocallyClosed("it was idle, and there were too many connections"))
        return True

    def drained(self, now: float) -> None:
        touched, self._touched = self._touched, {}
        for connection in touched:
            connection.drained()
            self._roaming.drained(connection)

    def writable(self) -> None:
        for connection in self._connections:
            connection.writable()

    def endpoint_failed(self, error: OSError) -> None:
        """The socket broke: every connection is lost at once, and whoever accepts is told."""
        log.error("the UDP endpoint failed: %s", error)
        reason = f"this node's UDP socket failed: {error}"
        self._closed = True
        self._arrived.end(ConnectionLost(reason))
        for connection in self._connections:
            connection.abort(ConnectionLost(reason))
        self.links.close()

    # What connections tell

    def _established_with(self, connection: Connection) -> None:
        """Dialled or answered, the peer may open streams on it: whoever accepts must know."""
        self._provisional.pop(connection, None)
        if connection in self._outdated:
            del self._outdated[connection]
            connection.identity_changed(self._identity)
        self._know(connection)
        if not connection.closed:
            self._arrived.put(connection)

    def _link_told(self, link: Link, event: LinkEvent) -> None:
        self._roaming.told(link, event)
        for watcher in self.link_watchers:
            watcher(link, event)

    def _know(self, connection: Connection) -> None:
        """The peer is found by its current id, by which its link goes, and by those before it."""
        for node_id in connection.peer.lineage:
            self._by_peer[node_id] = connection
        self._roaming.proved(connection)

    def _forget(self, connection: Connection) -> None:
        self._provisional.pop(connection, None)
        self._outdated.pop(connection, None)
        self._touched.pop(connection, None)
        self._arrived.discard(connection)
        self._connections.discard(connection)
        self._roaming.forget(connection)
        for node_id in [i for i, c in self._by_peer.items() if c is connection]:
            del self._by_peer[node_id]

    def _reap(self) -> None:
        """Forget connections that nobody has used for a while, or that come to nothing."""
        now = self._loop.time()
        for connection in self._connections:
            if connection.established_at is None:
                if now - connection.opened_at >= HANDSHAKE_TIMEOUT:
                    waited = f"no handshake within {HANDSHAKE_TIMEOUT:.0f} s"
                    connection.abort(DeadlineExceeded(waited))
            elif not connection.stream_count and now - connection.idle_since >= IDLE_TIMEOUT:
                connection.close()
        self._roaming.drop_unused(now - IDLE_TIMEOUT)
        self._reaper = self._loop.call_later(REAP_INTERVAL, self._reap)
