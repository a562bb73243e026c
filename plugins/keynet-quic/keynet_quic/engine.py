"""The engine: aioquic's connection behind the verbs and events of `keynet.transport.api`.

aioquic does the protocol; here its events become keynet's. No socket, task or clock. See also
connection.py (what aioquic is made to do), streams.py, identities.py and endings.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from aioquic.quic import events as quic
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.stream import QuicStream

from keynet.engine import Buffer, Datagrams
from keynet.errors import (
    ClosedByPeer,
    HandshakeFailed,
    IdentityError,
    KeynetError,
    LocallyClosed,
    RemoteProtocolError,
)
from keynet.identity import Identity
from keynet.transport.api import (
    ConnectionTerminated,
    HandshakeCompleted,
    LinkInfo,
    PeerIdentityChanged,
    StreamClosed,
    StreamEnded,
    StreamEstablished,
    StreamId,
    StreamOpened,
    StreamReadable,
    StreamWritable,
    TransportEvent,
)
from keynet_quic.batches import joined
from keynet_quic.connection import PEER, Connection, packet_size
from keynet_quic.endings import CANCELLED, REFUSED, found_here, told_by_peer
from keynet_quic.identities import Identities
from keynet_quic.streams import SEND_BUFFER, Stream, Streams

MAX_OPEN = 256
"""Streams of one connection, of both ends together."""
PING_INTERVAL = 10.0
"""Seconds between PINGs, which keep an idle connection below aioquic's idle timeout."""
CLOSE_TIMEOUT = 1.0
"""Seconds that `close` waits until what was ended cleanly has been acknowledged."""
KEY_PACKETS = 1 << 22
"""Packets sent with one key; RFC 9001 section 6.6 allows twice as many."""


class Engine:
    """One connection; satisfies `keynet.transport.api.TransportEngine`."""

    def __init__(
        self,
        link: LinkInfo,
        connection: Connection,
        streams: Streams,
        identities: Identities,
        *,
        settled: Callable[[Engine], None],
        key_packets: int = KEY_PACKETS,
    ) -> None:
        """`settled` hears that the peer has proved itself, or will not any more."""
        self._link, self._mtu, self._link_mtu = link, link.mtu, link.mtu
        self._connection, self._streams, self._identities = connection, streams, identities
        self._settled = settled
        self._key_packets, self._key_sent, self._key_updates = key_packets, 0, 0
        self._events: deque[TransportEvent] = deque()
        self._ids: frozenset[bytes] = frozenset(connection.ids)
        self._ping_at: float | None = None
        self._closing_at: float | None = None
        self._lingering: list[QuicStream] = []
        """Streams that were ended cleanly before `close`, until the peer has all of them."""
        self._leaving: KeynetError | None = None
        """The peer has closed, and some of what it sent before is unread."""
        self._ending: ConnectionTerminated | None = None
        """The last event, which waits until the last datagrams have been handed out."""
        self._over = False

    @property
    def connection_ids(self) -> frozenset[bytes]:
        """What the demultiplexer knows this connection by; another object when it changes."""
        return self._ids

    # Datagrams and time

    def know_as(self, *ids: bytes) -> None:
        """Ids that the dialer made up or was given, before it learned ours."""
        self._ids |= frozenset(ids)

    def answer(self, first: Datagrams, now: float) -> None:
        """Take a stranger's first datagrams; what cannot be decrypted begins nothing."""
        self.receive(first, now)
        if not self._connection.begun:
            self._finish(HandshakeFailed("the first datagram begins no connection"))

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if self._ending is not None or self._leaving is not None:
            return
        for datagram in datagrams:
            self._connection.receive_datagram(bytes(datagram), PEER, now)
        self._after_input(now)

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        if self._over:
            return []
        out: list[Datagrams] = []
        if self._connection.begun or self._connection.configuration.is_client:
            out = self._packets(now)
        if self._ending is not None and not out:
            self._over = True
            self._connection.end_trace()
            self._events.append(self._ending)
        return out

    def _packets(self, now: float) -> list[Datagrams]:
        mtu = self._link.mtu
        if mtu != self._link_mtu:  # the link has measured again, on the same path
            self._mtu = self._link_mtu = mtu
            self._connection.resize(mtu)
        sent = [data for data, to in self._connection.datagrams_to_send(now) if to == PEER]
        self._key_sent += len(sent)
        if self._key_sent >= self._key_packets and self._identities.peer is not None:
            self._key_sent, self._key_updates = 0, self._key_updates + 1
            self._connection.request_key_update()
        self._drain(now)  # which ids were issued
        return joined(sent, self._mtu)

    def next_deadline(self) -> float | None:
        if self._ending is not None or self._leaving is not None:
            return None
        times = (self._connection.get_timer(), self._ping_at, self._closing_at)
        return min((time for time in times if time is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        if self._ending is not None or self._leaving is not None:
            return
        if self._ping_at is not None and now >= self._ping_at:
            self._ping_at = now + PING_INTERVAL
            self._connection.send_ping(0)
        at = self._connection.get_timer()
        if at is not None and now >= at:
            self._connection.handle_timer(now)
        self._after_input(now)

    def next_event(self) -> TransportEvent | None:
        return self._events.popleft() if self._events else None

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        if self._ending is None and self._leaving is None:
            self._mtu, self._link_mtu = mtu, self._link.mtu
            self._connection.forget_path(mtu, rtt, now)

    def identity_changed(self, local: Identity, now: float) -> None:
        if self._ending is None and self._leaving is None and self._closing_at is None:
            self._identities.change(local)

    # Streams

    def open_stream(self, now: float) -> StreamId:
        if not self._open_for_verbs:
            raise LocallyClosed("the connection is closed")
        if len(self._streams) >= MAX_OPEN:
            raise LocallyClosed(f"the connection already has {MAX_OPEN} streams")
        stream = self._streams.add(self._connection.open())
        if self._identities.peer is not None:
            self._announce(stream)
        return stream.stream_id

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        stream = self._announced(stream_id)
        if stream.eof_written:
            raise LocallyClosed("the stream's end was already written")
        taken = max(0, min(len(data), stream.room))
        if taken:
            self._connection.send_stream_data(stream_id, bytes(data[:taken]))
        stream.blocked = taken < len(data)
        return taken

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        stream = self._announced(stream_id)
        data = stream.take(max_bytes)
        self._settle(stream)
        return data

    def write_eof(self, stream_id: StreamId, now: float) -> None:
        stream = self._announced(stream_id)
        if not stream.eof_written:
            stream.eof_written = True
            self._connection.send_stream_data(stream_id, b"", end_stream=True)

    def reset(self, stream_id: StreamId, now: float) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._connection.drop(stream.stream_id, CANCELLED)
            self._close_stream(stream, LocallyClosed("the stream was reset on this side"))

    def close(self, now: float) -> None:
        if self._ending is not None or self._closing_at is not None:
            return
        self._closing_at = now + CLOSE_TIMEOUT
        for stream in self._streams:
            if stream.eof_written and self._leaving is None:
                self._lingering.append(stream.quic)
            else:
                self._connection.drop(stream.stream_id, CANCELLED)
            self._close_stream(stream, LocallyClosed("the connection was closed"))
        self._check_closed(now)

    def stats(self) -> dict[str, float | int | str]:
        rtt = self._connection.rtt
        return {
            "streams": len(self._streams),
            "rtt": round(rtt, 6) if rtt is not None else "unknown",
            "window": self._connection.window,
            "packet size": packet_size(self._mtu),
            "key updates": self._key_updates,
            "received": self._connection.received,
        }

    @property
    def _open_for_verbs(self) -> bool:
        return self._ending is None and self._leaving is None and self._closing_at is None

    def _announced(self, stream_id: StreamId) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None or not stream.announced:
            raise LocallyClosed(f"stream {stream_id} is not open")
        return stream

    # What aioquic tells

    def _after_input(self, now: float) -> None:
        self._drain(now)
        if self._ending is not None:
            return
        established = self._identities.peer is not None
        if (told := self._connection.closed_by_peer) is not None:
            self._leave(told_by_peer(told, established=established))
        elif (found := self._connection.ending) is not None:
            self._finish(found_here(found, established=established))
        elif self._closing_at is not None:
            self._check_closed(now)
        else:
            for stream in self._streams:
                self._settle(stream)

    def _drain(self, now: float) -> None:
        """Take aioquic's events; a stream's bytes are told of once."""
        readable: dict[Stream, None] = {}
        while (event := self._connection.next_event()) is not None:
            if self._ending is None:
                self._take(event, readable, now)
        for stream in readable:
            if self._streams.get(stream.stream_id) is stream and stream.announced:
                self._events.append(StreamReadable(stream.stream_id))

    def _take(self, event: quic.QuicEvent, readable: dict[Stream, None], now: float) -> None:
        match event:
            case quic.StreamDataReceived(data, end, stream_id):
                self._data_received(stream_id, data, end, readable)
            case quic.StreamReset(_, stream_id) | quic.StopSendingReceived(_, stream_id):
                self._reset_by_peer(stream_id)
            case quic.HandshakeCompleted(alpn):
                self._handshake_completed(alpn, now)
            case quic.ConnectionIdIssued(connection_id):
                self._ids |= {connection_id}
            case quic.ConnectionIdRetired(connection_id):
                self._ids -= {connection_id}
            case quic.ConnectionTerminated():
                self._finish(found_here(event, established=self._identities.peer is not None))

    def _handshake_completed(self, alpn: str | None, now: float) -> None:
        try:
            peer = self._identities.judge(alpn)
        except (IdentityError, HandshakeFailed) as error:
            self._refuse(error)
            return
        self._ping_at = now + PING_INTERVAL
        self._events.append(HandshakeCompleted(peer))
        self._settled(self)
        for stream in self._streams:
            self._announce(stream)

    def _refuse(self, error: KeynetError) -> None:
        """End it for what the peer has shown, and tell it so."""
        wrong = isinstance(error, IdentityError)
        code = REFUSED if wrong else QuicErrorCode.PROTOCOL_VIOLATION
        self._connection.close(code, frame_type=QuicFrameType.CRYPTO)
        self._finish(error)

    def _data_received(
        self, stream_id: StreamId, data: bytes, end: bool, readable: dict[Stream, None]
    ) -> None:
        if self._identities.is_proof(stream_id):
            self._proof_received(stream_id, data, end)
            return
        stream = self._known(stream_id)
        if stream is not None:
            stream.received += data
            stream.complete |= end
            readable[stream] = None

    def _known(self, stream_id: StreamId) -> Stream | None:
        """The stream, which the peer may just have opened; None when it is gone."""
        if self._closing_at is None:
            for opened in self._streams.opened_up_to(stream_id, self._connection.find):
                self._announce(opened)
        return self._streams.get(stream_id)

    def _reset_by_peer(self, stream_id: StreamId) -> None:
        if self._identities.is_proof(stream_id):
            self._identities.forget(stream_id)
            return
        stream = self._known(stream_id)
        if stream is not None:
            self._connection.drop(stream.stream_id, CANCELLED)
            self._close_stream(stream, ClosedByPeer("the peer reset the stream"))

    def _proof_received(self, stream_id: StreamId, data: bytes, end: bool) -> None:
        try:
            newer = self._identities.take(stream_id, data, end)
        except (IdentityError, RemoteProtocolError) as error:
            self._refuse(error)
            return
        if newer is not None:
            self._events.append(PeerIdentityChanged(newer))

    # What becomes true of streams

    def _announce(self, stream: Stream) -> None:
        """Tell the application of a stream; but the peer must know first who we are by now."""
        if stream.announced or not self._identities.told:
            return
        stream.announced = True
        kind = StreamEstablished if self._streams.is_ours(stream.stream_id) else StreamOpened
        self._events.append(kind(stream.stream_id))
        if stream.received or stream.complete:
            self._events.append(StreamReadable(stream.stream_id))

    def _settle(self, stream: Stream) -> None:
        """Say what has become true of a stream: announced, writable, ended, closed."""
        if not stream.announced:
            self._announce(stream)
        if not stream.announced:
            return
        if stream.blocked and stream.room >= SEND_BUFFER // 4:
            stream.blocked = False
            self._events.append(StreamWritable(stream.stream_id))
        if stream.complete and not stream.received and not stream.ended:
            stream.ended = True
            self._events.append(StreamEnded(stream.stream_id))
        if stream.ended and stream.delivered:
            self._close_stream(stream, None)

    def _close_stream(self, stream: Stream, error: KeynetError | None) -> None:
        if not self._streams.remove(stream):
            return
        if stream.announced or self._streams.is_ours(stream.stream_id):
            self._events.append(StreamClosed(stream.stream_id, error))
        if self._leaving is not None and not len(self._streams):
            self._finish(self._leaving)

    # Ends

    def _leave(self, error: KeynetError) -> None:
        """The peer has closed: what it had sent whole, and has from us whole, can yet be read."""
        self._leaving = error
        for stream in self._streams:
            self._settle(stream)  # the last acknowledgement may have come with the close
            if not (stream.announced and stream.complete and stream.delivered):
                self._close_stream(stream, error)
        if not len(self._streams):
            self._finish(None if self._closing_at is not None else error)

    def _check_closed(self, now: float) -> None:
        """After `close`: leave when everything has arrived, or when it takes too long."""
        if self._closing_at is None or self._ending is not None:
            return
        waiting = [one for one in self._lingering if not one.sender.is_finished]
        if self._leaving is not None or not waiting or now >= self._closing_at:
            self._connection.close()
            self._finish(None)

    def _finish(self, error: KeynetError | None) -> None:
        """The event follows when the last datagrams, a CONNECTION_CLOSE perhaps, are out."""
        if self._ending is not None:
            return
        self._ending = ConnectionTerminated(None if self._closing_at is not None else error)
        self._settled(self)
        ending = error or LocallyClosed("the connection was closed")
        for stream in self._streams:
            self._close_stream(stream, ending)
