"""The asyncio shell around one transport engine: events to streams, datagrams to the link, a timer.

Its rhythm is: input, events, transmit, re-arm one timer. Transmission waits for the end of the
loop's turn, so that acknowledgements ride on the application's answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.errors import ConnectionLost, DeadlineExceeded, KeynetError, LocallyClosed
from keynet.identity import Identity, PeerIdentity
from keynet.signalling.attachment import Attachment
from keynet.transport.api import (
    ConnectionTerminated,
    HandshakeCompleted,
    PeerIdentityChanged,
    StreamClosed,
    StreamEnded,
    StreamEstablished,
    StreamId,
    StreamOpened,
    StreamReadable,
    StreamWritable,
    TransportEngine,
    TransportEvent,
)
from keynet.transport.arrivals import Arrivals
from keynet.transport.stream import Stream
from keynet.udp.api import Sent
from keynet.udp.path import Path

ROUNDS_PER_TURN = 4
"""Transmissions in one turn of the loop before others get theirs."""
SHORT = 4096
"""Bytes of a message that no other is worth waiting for."""
SILENCE = 3.0
"""Seconds after which a stream that nobody has answered speaks of a peer that is gone."""
_LONG = 3600.0
"""Seconds that outlast every patience of an engine."""


class Connection:
    """A secure association with one peer, over one link."""

    def __init__(
        self,
        engine: TransportEngine,
        attachment: Attachment,
        transport: str,
        on_established: Callable[[Connection], None],
        on_peer_changed: Callable[[Connection], None],
        on_terminated: Callable[[Connection], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        """The transport's name."""
        self.dialed = False
        """Whether this side dialled."""
        self.opened_at = self.loop.time()
        self.established_at: float | None = None
        """When the peer had proved its identity, by the loop's clock."""
        self.idle_since = self.opened_at
        """Since when there has been no stream; meaningless while there is one."""
        self.error: KeynetError | None = None
        """What ended the connection; None while it lives and after a local close."""
        self.closing = False
        """No more streams can be opened; it ends within about a second."""
        self.closed = False
        self.waiters = 0
        """Dialling callers; the last one to leave before the handshake ends the dial."""
        self._engine = engine
        self.attachment = attachment
        """Its hold on the link below."""
        self._peer: PeerIdentity | None = None
        self._on_established = on_established
        self._on_peer_changed = on_peer_changed
        self._on_terminated = on_terminated
        self._streams: dict[StreamId, Stream] = {}
        self._opening: dict[StreamId, asyncio.Future[Stream]] = {}
        self._accepted: Arrivals[Stream] = Arrivals()
        self._established: asyncio.Future[None] = self.loop.create_future()
        self._terminated: asyncio.Future[None] = self.loop.create_future()
        self._held: list[Datagrams] = []
        self._blocked = False
        self._flushing = False
        self._retiring = False
        self._timer: asyncio.TimerHandle | None = None
        self.flush_soon()

    # What people ask

    @property
    def peer(self) -> PeerIdentity:
        """Who the peer has proved to be, by its newest proof. LocallyClosed before
        `established_at` is set."""
        if self._peer is None:
            raise LocallyClosed("the peer has not proved its identity yet")
        return self._peer

    @property
    def remote(self) -> SocketAddress:
        """The peer's UDP address on the path in use."""
        return self.attachment.path.remote

    @property
    def local(self) -> SocketAddress | None:
        """This side's UDP address on the path in use, when it is known."""
        return self.attachment.local

    @property
    def stream_count(self) -> int:
        return len(self._streams) + len(self._opening)

    @property
    def ids(self) -> frozenset[Hashable]:
        """What datagrams name it by, where its transport lets the receiver choose ids."""
        return getattr(self._engine, "connection_ids", frozenset())

    def stats(self) -> dict[str, float | int | str]:
        """The engine's counters and gauges."""
        return self._engine.stats()

    async def wait_established(self) -> None:
        """Wait for the handshake. Raises what ended the connection before it."""
        await asyncio.shield(self._established)

    async def wait_closed(self) -> KeynetError | None:
        """Wait for the end; returns why, None after a local close."""
        await asyncio.shield(self._terminated)
        return self.error

    # Streams

    async def open_stream(self) -> Stream:
        """A new stream to the peer. Raises ClosedError or ConnectError. Cancelling resets it."""
        started_at = self.loop.time()
        stream_id = self._engine.open_stream(started_at)
        opening: asyncio.Future[Stream] = self.loop.create_future()
        self._opening[stream_id] = opening
        self._after_verb()
        try:
            return await opening
        except asyncio.CancelledError:
            self._abandon(stream_id, opening)
            if self.loop.time() - started_at >= SILENCE:
                self.retire()  # the next caller dials anew: the peer may have moved
            raise

    def _abandon(self, stream_id: StreamId, opening: asyncio.Future[Stream]) -> None:
        """Whatever has become of it in the same turn of the loop."""
        self._opening.pop(stream_id, None)
        if opening.done() and not opening.cancelled():
            opening.exception()  # nobody else will ask for it
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.reset()
        else:
            self.reset(stream_id)

    async def accept_stream(self) -> Stream:
        """The next stream that the peer opens. Raises what ended the connection."""
        return await self._accepted.get()

    async def aclose(self) -> None:
        """End all streams cleanly, then the connection. Idempotent."""
        self.close()
        await asyncio.shield(self._terminated)

    def close(self) -> None:
        """Start to end it; `wait_closed` tells when that is done. Idempotent."""
        if self.closing or self.closed:
            return
        self.closing = True
        for stream in [s for s in self._streams.values() if s.buffered]:
            stream.reset()  # a clean end would pass off a part as the whole
        self._engine.close(self.loop.time())
        self._after_verb()

    def retire(self) -> None:
        """Close as soon as there is no stream, perhaps now; but a handshake goes on."""
        self._retiring = True
        if not self.stream_count and self.established_at is not None:
            self.close()

    def identity_changed(self, local: Identity) -> None:
        """This node has a newer identity: streams go on, new ones prove it."""
        self._engine.identity_changed(local, self.loop.time())
        self._after_verb()

    # What streams ask

    def read(self, stream_id: StreamId, max_bytes: int) -> bytes:
        """What there is. A stream that is over in the engine, which the events that wait will say,
        gives b"", and has been told of it when this returns; so it is with the verbs below."""
        try:
            data = self._engine.read(stream_id, max_bytes, self.loop.time())
        except LocallyClosed:
            data = b""
        self._after_verb()
        return data

    def write(self, stream_id: StreamId, data: Buffer) -> int:
        """A short message goes out at once; whatever follows in this turn of the loop gathers."""
        try:
            taken = self._engine.write(stream_id, data, self.loop.time())
        except LocallyClosed:
            self._after_verb()
            return 0
        at_once = taken <= SHORT and not (self._flushing or self._blocked or self.closed)
        self.flush_soon()
        if at_once:
            self._transmit()
        return taken

    def write_eof(self, stream_id: StreamId) -> None:
        try:
            self._engine.write_eof(stream_id, self.loop.time())
        except LocallyClosed:
            self._take_events()
        self.flush_soon()

    def reset(self, stream_id: StreamId) -> None:
        self._engine.reset(stream_id, self.loop.time())
        self._after_verb()

    def _after_verb(self) -> None:
        self._take_events()
        self.flush_soon()

    # What the host tells

    def datagrams_received(self, datagrams: Datagrams, now: float) -> None:
        self._engine.receive(datagrams, now)

    def drained(self) -> None:
        """The wake-up's datagrams are all in: tell the streams, answer after they have run."""
        self._take_events()
        self.flush_soon()

    def writable(self) -> None:
        """The socket has room again."""
        if self._blocked:
            self._blocked = False
            self.flush_soon()

    def moved(self, path: Path, mtu: int, rtt: float | None) -> None:
        """The link uses `path` from now on, which takes `mtu` bytes in `rtt` seconds."""
        if path.remote == self.remote:
            self.attachment.path = path
            return
        self.attachment.path = path
        self._held = []
        self._engine.path_changed(min(mtu, self.attachment.mtu_ceiling), rtt, self.loop.time())
        self._after_verb()

    def owns(self, datagram: Buffer) -> bool:
        """Whether a datagram from an unknown address looks like one of this connection's."""
        owns = getattr(self._engine, "owns", None)
        return owns is not None and not self.closed and bool(owns(datagram))

    def abort(self, error: KeynetError) -> None:
        """End without another datagram: the endpoint is gone, or the peer deserves none."""
        self._terminate(error)
        now = self.loop.time()
        self._engine.close(now)
        self._engine.handle_deadline(now + _LONG)  # it lets go of all that it shares with others

    # Transmission

    def flush_soon(self) -> None:
        """Transmit at the end of this turn of the loop."""
        if not self._flushing and not self.closed:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for _ in range(ROUNDS_PER_TURN):
            if self.closed or self._blocked:
                return
            sent = self._transmit()
            if not self._take_events() and not sent:
                self._arm_timer()
                return
        self.flush_soon()

    def _transmit(self) -> bool:
        """Send one round of what the engine has; False when it has nothing."""
        queue = self._held or self._engine.datagrams_to_send(self.loop.time())
        for index, datagrams in enumerate(queue):
            if self.attachment.send(datagrams) is Sent.BLOCKED:
                self._blocked = True
                self._held = queue[index:]
                return True
        self._held = []
        return bool(queue)

    def _arm_timer(self) -> None:
        """One timer; when the deadline moved back, the old one fires early and looks again."""
        deadline = self._engine.next_deadline()
        if deadline is None or self.closed:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        deadline = self._engine.next_deadline()
        if deadline is not None and deadline <= now:
            self._engine.handle_deadline(now)
            self._take_events()
        self.flush_soon()

    # Events

    def _take_events(self) -> bool:
        """Pass on what the engine has to say; False when that is nothing."""
        event = self._engine.next_event()
        if event is None:
            return False
        while event is not None:
            self._handle(event)
            event = self._engine.next_event()
        return True

    def _handle(self, event: TransportEvent) -> None:
        match event:
            case StreamReadable(stream_id):
                self._streams[stream_id].readable()
            case StreamWritable(stream_id):
                self._streams[stream_id].writable()
            case StreamEnded(stream_id):
                self._streams[stream_id].ended()
            case StreamEstablished(stream_id):
                self._stream_established(stream_id)
            case StreamOpened(stream_id):
                self._stream_opened(stream_id)
            case StreamClosed(stream_id, error):
                self._stream_closed(stream_id, error)
            case HandshakeCompleted(peer):
                self._handshake_completed(peer)
            case PeerIdentityChanged(peer):
                self._peer = peer
                self._on_peer_changed(self)
            case ConnectionTerminated(error):
                self._terminate(error)

    def _handshake_completed(self, peer: PeerIdentity) -> None:
        self._peer = peer
        self.established_at = self.loop.time()
        if not self._established.done():
            self._established.set_result(None)
        self._on_established(self)

    def _stream_established(self, stream_id: StreamId) -> None:
        stream = self._streams[stream_id] = Stream(self, stream_id)
        opening = self._opening.pop(stream_id, None)
        if opening is not None and not opening.done():
            opening.set_result(stream)

    def _stream_opened(self, stream_id: StreamId) -> None:
        stream = self._streams[stream_id] = Stream(self, stream_id)
        self._accepted.put(stream)

    def _stream_closed(self, stream_id: StreamId, error: KeynetError | None) -> None:
        opening = self._opening.pop(stream_id, None)
        if opening is not None and not opening.done():
            opening.set_exception(error or LocallyClosed("the stream closed before it was open"))
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.closed(error)
            self._accepted.discard(stream)
        self.idle_since = self.loop.time()
        if self._retiring or isinstance(error, ConnectionLost | DeadlineExceeded):
            self.retire()

    def _terminate(self, error: KeynetError | None) -> None:
        if self.closed:
            return
        self.closed, self.error = True, error
        if self._timer is not None:
            self._timer.cancel()
        self._held = []
        ending = error or LocallyClosed("the connection was closed")
        for stream_id in [*self._opening, *self._streams]:
            self._stream_closed(stream_id, ending)
        if not self._established.done():
            self._established.set_exception(ending)
            self._established.exception()  # nobody may be waiting for it
        self._terminated.set_result(None)
        self._accepted.end(ending)
        self._on_terminated(self)
