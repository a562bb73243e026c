"""The uTP transport's engine: one peer's set of streams, each a uTP connection with TLS inside.

All streams prove the same lineage and share the path's packet size. The dialer's first stream
is opened with the connection itself, because only a stream can carry a handshake; the first
`open_stream` takes it over. Whose a packet is, is told in admission.py; who the peer is, in
proofs.py.
"""

from __future__ import annotations

from collections import deque

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams
from keynet.errors import (
    ClosedByPeer,
    HandshakeFailed,
    IdentityError,
    KeynetError,
    LocallyClosed,
    PeerReplaced,
)
from keynet.identity import Identity
from keynet.transport.api import (
    ConnectionTerminated,
    LinkInfo,
    StreamClosed,
    StreamEnded,
    StreamEstablished,
    StreamId,
    StreamOpened,
    StreamReadable,
    StreamWritable,
    TransportEvent,
)
from keynet.transport.utp.admission import Admission
from keynet.transport.utp.connection import State
from keynet.transport.utp.deadlines import Deadlines
from keynet.transport.utp.factory import ChannelFactory, Settings, StreamFactory
from keynet.transport.utp.mtu import ETHERNET_SIZE, PathMtu
from keynet.transport.utp.packet import PacketType, decode, is_data_batch
from keynet.transport.utp.proofs import Proofs
from keynet.transport.utp.stream import UtpStream
from keynet.transport.utp.table import MAX_STREAMS, StreamTable

MAX_BYTES_PER_CALL = 1 << 20
CLOSE_TIMEOUT = 1.0
"""How long `close` waits for its FINs to be acknowledged before it resets."""


class Engine:
    """See `keynet.transport.api.TransportEngine` for the verbs."""

    def __init__(
        self,
        link: LinkInfo,
        make_channel: ChannelFactory,
        settings: Settings,
        local: Identity,
        expected: NodeId | None,
        now: float,
    ) -> None:
        """`expected` is whom the peer must prove to be when it is dialled."""
        self._link = link
        self._settings = settings
        # A foreign uTP peer may cut what is larger without saying so. Who completes the
        # handshake is one of us, and takes whatever arrives: `_check_identity` raises the ceiling.
        ceiling = min(link.mtu_ceiling, ETHERNET_SIZE)
        self._mtu = PathMtu(min(link.mtu, ceiling), ceiling)
        self._proofs = Proofs(expected, now)
        self._factory = StreamFactory(link, make_channel, settings, self._mtu, local, self._proofs)
        self._table = StreamTable()
        self._admission = Admission(self._table, self._factory, self._proofs, self._displace)
        self.owns = self._admission.owns  # the host asks before it refuses a stranger
        self._dirty: dict[UtpStream, None] = {}
        self._deadlines = Deadlines()
        self._events: deque[TransportEvent] = deque()
        self._spare: UtpStream | None = None
        self._closing_at: float | None = None
        self._ending: ConnectionTerminated | None = None
        self._terminated = False

    # Opening

    def dial(self, now: float) -> None:
        """Start the first stream, which carries the connection's handshake."""
        self._spare = self._new_stream(now)

    def open_stream(self, now: float) -> StreamId:
        if self._ending is not None or self._closing_at is not None:
            raise LocallyClosed("the connection is closed")
        if len(self._table.live) >= MAX_STREAMS:
            raise LocallyClosed(f"the connection already has {MAX_STREAMS} streams")
        stream, self._spare = self._spare, None
        if stream is None or stream.utp.inbound.eof:  # the peer waited for first bytes in vain
            stream = self._new_stream(now)
        elif stream.secured:
            self._announce(stream)
        return stream.stream_id

    def _new_stream(self, now: float) -> UtpStream:
        stream = self._factory.make(self._table.free_id(self._settings.random), None, now)
        self._table.add(stream)
        self._dirty[stream] = None
        return stream

    def answer(self, first: Datagrams, now: float) -> None:
        """Take a stranger's first datagrams; without a stream in them there is no connection."""
        self.receive(first, now)
        if not self._table.live:
            self._terminate(HandshakeFailed("the first datagram opens no stream"))

    # Input

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if self._terminated:
            return
        view, stride = memoryview(datagrams.data), datagrams.stride
        if len(view) > stride > 0:
            if self._receive_batch(view, stride, now):
                return
            # A DATA batch is often followed by one shorter packet, merged into it by the kernel.
            whole = (len(view) - 1) // stride * stride
            if whole > stride and self._receive_batch(view[:whole], stride, now):
                view = view[whole:]
        for start in range(0, len(view), stride or 1):
            self._receive_one(view[start : start + stride], now)

    def _receive_batch(self, view: memoryview, stride: int, now: float) -> bool:
        if not is_data_batch(view, stride):
            return False
        stream = self._table.find(view[2] << 8 | view[3])
        if stream is None:
            return False
        stream.utp.receive_batch(view, stride, now)
        self._after_input(stream, now)
        return True

    def _receive_one(self, datagram: memoryview, now: float) -> None:
        packet = decode(datagram)
        if packet is None:
            self._admission.dropped += 1
            return
        if packet.type == PacketType.SYN:
            if (stream := self._admission.receive_syn(packet, now)) is not None:
                self._dirty[stream] = None
            return
        stream = self._table.find(packet.connection_id) or self._admission.owner(packet)
        if stream is not None:
            stream.utp.receive(packet, now)
            self._after_input(stream, now)

    def _displace(self, stream: UtpStream) -> None:
        """Another stream has its id now."""
        self._abandon(stream, ClosedByPeer("the peer began anew with the same connection id"))

    def _after_input(self, stream: UtpStream, now: float) -> None:
        """Look at what the input changed, and say so in events."""
        self._dirty[stream] = None
        if stream.stream_id not in self._table.live:
            return  # it lingers only to repeat its last ACK
        if not stream.secured:
            if stream.advance_handshake():
                self._table.secured(stream)
                self._check_identity(stream, now)
            elif (fault := stream.fault) is not None:
                self._fail(stream, fault, now)
                return
        if stream.announced:
            self._tell_progress(stream)
        ended = stream.ended
        if stream.over:
            if stream.ended and not ended:
                self._events.append(StreamEnded(stream.stream_id))
            self._remove(stream, stream.last_words())

    def _tell_progress(self, stream: UtpStream) -> None:
        inbound = stream.utp.inbound
        if not stream.told_readable and not stream.ended and (inbound.unread or inbound.eof):
            stream.told_readable = True
            self._events.append(StreamReadable(stream.stream_id))

    def _check_identity(self, stream: UtpStream, now: float) -> None:
        """The first handshake names the peer; every other must prove the same node."""
        proved = stream.channel.peer
        assert proved is not None, "an established channel has a peer"
        try:
            news = self._proofs.take(proved, now)
        except IdentityError as error:
            self._fail(stream, error, now)
            return
        except PeerReplaced as error:
            self._fail(stream, error, now)
            for other in list(self._table.live.values()):
                self._abandon(other, error)
            self._terminate(error)
            return
        if news is not None:
            self._events.append(news)
        stream.utp.outbound.probing_allowed = True
        self._factory.trust(stream)
        self._mtu.raise_ceiling(min(self._link.mtu_ceiling, self._settings.max_packet))
        if stream is not self._spare:
            self._announce(stream)

    def _announce(self, stream: UtpStream) -> None:
        stream.announced = True
        kind = StreamEstablished if stream.local else StreamOpened
        self._events.append(kind(stream.stream_id))
        # The channel may hold bytes that came in the same packet as the handshake's end.
        stream.told_readable = True
        self._events.append(StreamReadable(stream.stream_id))

    # Stream verbs

    def _stream(self, stream_id: StreamId) -> UtpStream:
        stream = self._table.live.get(stream_id)
        if stream is None or not stream.announced:
            raise LocallyClosed("the stream is closed")
        return stream

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        stream = self._stream(stream_id)
        self._dirty[stream] = None
        return stream.write(data)

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        stream = self._stream(stream_id)
        ended = stream.ended
        data = stream.read(max_bytes)
        if stream.utp.ack_due:
            self._dirty[stream] = None
        if data:
            self._proofs.heard_at = now
        else:
            if stream.channel.error is not None:
                self._fail(stream, stream.channel.error, now)
            elif stream.ended and not ended:
                self._events.append(StreamEnded(stream_id))
            if stream.over:
                self._remove(stream, stream.fault)
        return data

    def write_eof(self, stream_id: StreamId, now: float) -> None:
        stream = self._stream(stream_id)
        stream.finish()
        self._dirty[stream] = None

    def reset(self, stream_id: StreamId, now: float) -> None:
        stream = self._table.live.get(stream_id)
        if stream is not None:
            self._reset(stream, "the stream was reset on this side", now)

    # Output

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        if self._terminated:
            return []
        out = [Datagrams(reset) for reset in self._admission.refusals]
        if out:
            self._admission.refusals.clear()
        size = 0
        for stream in list(self._dirty):
            del self._dirty[stream]
            produced = stream.utp.datagrams_to_send(now)
            if produced:
                out += produced
                size += sum([len(datagrams.data) for datagrams in produced])
            if stream.utp.outbound.cut_short:
                self._dirty[stream] = None  # at the end, so that streams take turns
            self._after_output(stream)
            if size >= MAX_BYTES_PER_CALL:
                break
        if self._closing_at is not None:
            self._check_closed(now)
        if self._ending is not None and not self._dirty:
            self._terminated = True
            self._events.append(self._ending)
        return out

    def _after_output(self, stream: UtpStream) -> None:
        if stream.wants_write and stream.has_room:
            stream.wants_write = False
            self._events.append(StreamWritable(stream.stream_id))
        self._deadlines.arm(stream)

    def next_event(self) -> TransportEvent | None:
        return self._events.popleft() if self._events else None

    # Time

    def next_deadline(self) -> float | None:
        if self._terminated:
            return None
        at = self._deadlines.next()
        if self._closing_at is not None:
            return self._closing_at if at is None else min(at, self._closing_at)
        return at

    def handle_deadline(self, now: float) -> None:
        if self._terminated:
            return
        for stream in self._deadlines.due(now):
            at = stream.utp.next_deadline()
            if at is None or at > now:
                self._deadlines.arm(stream)
                continue
            stream.utp.handle_deadline(now)
            if stream.utp.forgotten:
                self._table.forget_id(stream)
            else:
                self._after_input(stream, now)
        self._deadlines.compact(len(self._table.live))
        if self._closing_at is not None:
            self._check_closed(now)

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        self._mtu.path_changed(mtu, now)
        for stream in self._table.live.values():
            stream.utp.path_changed(rtt, now)
            self._dirty[stream] = None

    def identity_changed(self, local: Identity, now: float) -> None:
        """Each stream proves who we are by itself, so it is the next one that tells the peer."""
        self._factory.local = local
        spare = self._spare
        if spare is not None and spare.secured:  # it has proved who we were
            self._reset(spare, "this node has another identity now", now)

    # Ending

    def _reset(self, stream: UtpStream, why: str, now: float) -> None:
        self._dirty[stream] = None
        stream.utp.reset(now)
        self._remove(stream, LocallyClosed(why))

    def _abandon(self, stream: UtpStream, error: KeynetError) -> None:
        """End a stream without a word to the peer."""
        stream.utp.abandon(error)
        self._remove(stream, error)

    def _fail(self, stream: UtpStream, error: KeynetError, now: float) -> None:
        """Break a stream for what its channel or identity shows, and let the alert go out."""
        self._dirty[stream] = None
        stream.utp.abort(now)
        self._remove(stream, error)

    def _remove(self, stream: UtpStream, error: KeynetError | None) -> None:
        """Forget a stream; a finished one goes on answering repeated FINs for a moment."""
        if not self._table.remove(stream):
            return
        if stream.utp.state is State.CLOSED:
            self._deadlines.drop(stream, len(self._table.live))
        stream.wants_write = False
        stream.utp.inbound.retire()
        if stream.announced or (stream.local and stream is not self._spare):
            self._events.append(StreamClosed(stream.stream_id, error))
        if stream is self._spare:
            self._spare = None
        if self._proofs.peer is None and not self._table.live:
            failed = error or HandshakeFailed("the peer closed during the handshake")
            self._terminate(failed if self._closing_at is None else None)

    def _terminate(self, error: KeynetError | None) -> None:
        """The event follows when the last datagrams, a RESET perhaps, have gone out."""
        self._admission.closed = True
        if self._ending is None:
            self._ending = ConnectionTerminated(error)

    def close(self, now: float) -> None:
        if self._ending is not None or self._closing_at is not None:
            return
        self._admission.closed = True
        self._closing_at = now + CLOSE_TIMEOUT
        for stream in list(self._table.live.values()):
            if stream.secured:
                stream.finish()
                self._dirty[stream] = None
            else:
                self._reset(stream, "the connection was closed", now)
        self._check_closed(now)

    def _check_closed(self, now: float) -> None:
        """All FINs are acknowledged, or time is up: reset what is left and end."""
        live = self._table.live.values()
        waiting = any(not stream.utp.is_heard for stream in live)
        if self._ending is not None or (waiting and now < (self._closing_at or now)):
            return
        for stream in list(live):
            self._reset(stream, "the connection was closed", now)
        self._terminate(None)

    def stats(self) -> dict[str, float | int | str]:
        """Counters and gauges of the connection, all streams together."""
        return {
            "packet_size": self._mtu.size,
            "congestion": self._settings.congestion,
            "dropped": self._admission.dropped,
            **self._table.stats(),
        }
