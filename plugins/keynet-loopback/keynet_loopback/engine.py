"""The engine: the hello, then streams over one channel. No socket, task or clock.

A segment is `kind, stream id, payload`. Each stream may have CREDIT bytes under way that the
other side's application has not read yet, so a stopped reader stops its writer and nobody else.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from keynet.engine import Buffer, Datagrams
from keynet.errors import (
    ClosedByPeer,
    ConnectionLost,
    HandshakeFailed,
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
from keynet_loopback.channel import FIRST_TIMEOUT, HEADER, Channel
from keynet_loopback.hello import SEAL_OVERHEAD, SEALED, Hello

SEGMENT = struct.Struct(">BI")
OPEN, DATA, EOF, RESET, CREDIT_MORE, IDENTITY = range(6)
BYE = b"bye"
CREDIT = 262144
MOST_STREAMS = 256
MOST_QUEUED = 4096
PING_INTERVAL, LOST_AFTER = 3.0, 15.0


@dataclass(slots=True)
class _Stream:
    received: bytearray = field(default_factory=bytearray)
    credit: int = CREDIT
    """Bytes that we may still send."""
    read: int = 0
    """Bytes read since the peer was last given credit."""
    blocked: bool = False
    ended: bool = False
    """The peer's bytes are complete and read."""
    peer_eof: bool = False
    eof: int | None = None
    """The number of our EOF segment."""


class LoopbackEngine:
    """One connection; satisfies `keynet.transport.api.TransportEngine`."""

    def __init__(self, link: LinkInfo, hello: Hello, now: float) -> None:
        self._hello, self._channel, self._mtu = hello, Channel(), link.mtu
        self._streams: dict[StreamId, _Stream] = {}
        self._next_id, self._last_remote_id = (0, -1) if hello.dialing else (1, -2)
        self._events: deque[TransportEvent] = deque()
        self._over = False
        self._leaving: ClosedByPeer | None = None
        """The peer said goodbye, and some of what it sent before is still unread."""
        self._farewell: list[bytes] = []
        self._last: ConnectionTerminated | None = None
        """The last event, which waits until the farewell has been handed out."""
        self._heard_at = self._ping_at = now
        self._hello_at: float | None = now if hello.dialing else None
        self._dropped = 0
        self._unproved: Identity | None = None
        """Whom this side became before the peer knew who it was."""

    # Datagrams and time

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            if self._over or self._leaving:
                return
            packet = bytes(datagram)
            body = self._hello.open(packet) if packet.startswith(SEALED) else None
            if body is not None:
                self._take(body, now)
            elif not self._greet(packet, now):
                self._dropped += 1

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        out, self._farewell = self._farewell, []
        if self._hello_at is not None and now >= self._hello_at:
            message = self._hello.message()
            self._hello_at = now + FIRST_TIMEOUT if self._hello.dialing else None
            out += [message] if message else []
        if self._hello.peer and not self._over and not self._leaving:
            bodies = self._channel.packets(now)
            out += [self._hello.seal(body) for body in bodies]
            self._ping_at = now + PING_INTERVAL if bodies else self._ping_at
        if self._last is not None:
            self._events.append(self._last)
            self._last = None
        return [Datagrams(datagram, may_fragment=len(datagram) > self._mtu) for datagram in out]

    def next_deadline(self) -> float | None:
        if self._over or self._leaving:
            return None
        times = [self._heard_at + LOST_AFTER, self._hello_at, self._channel.resend_at]
        times.append(self._ping_at if self._hello.peer else None)
        return min(time for time in times if time is not None)

    def handle_deadline(self, now: float) -> None:
        if self._over or self._leaving:
            return
        if now >= self._heard_at + LOST_AFTER:
            lost = ConnectionLost(f"nothing was heard for {LOST_AFTER:g} s")
            self._end(lost if self._hello.peer else HandshakeFailed(lost.reason))
        elif self._channel.resend_at is not None and now >= self._channel.resend_at:
            self._channel.go_back()
        if self._hello.peer and now >= self._ping_at:
            self._channel.ack_due, self._ping_at = True, now + PING_INTERVAL

    def next_event(self) -> TransportEvent | None:
        return self._events.popleft() if self._events else None

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        self._mtu = mtu
        self._channel.go_back(timeout=FIRST_TIMEOUT)

    def identity_changed(self, local: Identity, now: float) -> None:
        """The proof goes before all that is said from now on, streams that are opened too."""
        if self._over or self._leaving:
            return
        if self._hello.peer is None:
            self._unproved = local
        else:
            self._push(IDENTITY, 0, self._hello.proof_of(local))

    # Streams

    def open_stream(self, now: float) -> StreamId:
        if self._over or self._leaving:
            raise LocallyClosed("the connection is closed")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream()
        self._push(OPEN, stream_id)
        if self._hello.peer:
            self._events.append(StreamEstablished(stream_id))
        return stream_id

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        stream, view, taken = self._open(stream_id), memoryview(data), 0
        if stream.eof is not None:
            raise LocallyClosed("the stream's end was already written")
        size = max(1, self._mtu - SEAL_OVERHEAD - HEADER.size - SEGMENT.size)
        while taken < len(view) and stream.credit and self._channel.room > 0:
            piece = bytes(view[taken : taken + min(size, stream.credit)])
            self._push(DATA, stream_id, piece)
            stream.credit -= len(piece)
            taken += len(piece)
        stream.blocked = taken < len(view)
        return taken

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        stream = self._open(stream_id)
        data = bytes(stream.received[:max_bytes])
        del stream.received[:max_bytes]
        stream.read += len(data)
        if stream.read >= CREDIT // 2 and not self._leaving:
            self._push(CREDIT_MORE, stream_id, stream.read.to_bytes(4, "big"))
            stream.read = 0
        self._settle(stream_id, stream)
        return data

    def write_eof(self, stream_id: StreamId, now: float) -> None:
        stream = self._open(stream_id)
        if stream.eof is None:
            stream.eof = self._push(EOF, stream_id)

    def reset(self, stream_id: StreamId, now: float) -> None:
        if stream_id in self._streams:
            self._push(RESET, stream_id)
            self._close_stream(stream_id, LocallyClosed("the stream was reset here"))

    def close(self, now: float) -> None:
        if not self._over:
            self._farewell = [self._hello.seal(BYE)] if self._hello.peer else []
            self._end(None)

    def stats(self) -> dict[str, float | int | str]:
        return {"streams": len(self._streams), "dropped": self._dropped}

    # What arrives

    def _greet(self, packet: bytes, now: float) -> bool:
        known = self._hello.peer is not None
        if not self._hello.receive(packet):
            return False
        if self._hello.error is not None:
            self._end(self._hello.error)
        elif self._hello.peer and not known:
            self._heard_at = now
            self._events.append(HandshakeCompleted(self._hello.peer))
            self._events += [StreamEstablished(stream_id) for stream_id in self._streams]
            if self._unproved is not None:
                self.identity_changed(self._unproved, now)
        self._channel.ack_due = self._hello.peer is not None
        if not known if self._hello.dialing else self._hello.peer is None:
            self._hello_at = now  # the dialer's PROOF is due, or the listener's ANSWER
        return True

    def _take(self, body: bytes, now: float) -> None:
        self._heard_at = now
        self._hello_at = None
        if body == BYE:
            self._goodbye()
            return
        for segment in self._channel.receive(body, now):
            if not self._over:
                self._handle(segment)
        if len(self._channel) > MOST_QUEUED:
            self._end(RemoteProtocolError("the peer asks for much and acknowledges nothing"))
        for stream_id, stream in list(self._streams.items()):
            self._settle(stream_id, stream)

    def _handle(self, segment: bytes) -> None:
        if len(segment) < SEGMENT.size or segment[0] > IDENTITY:
            self._end(RemoteProtocolError("that is no segment"))
            return
        kind, stream_id = SEGMENT.unpack_from(segment)
        payload, stream = segment[SEGMENT.size :], self._streams.get(stream_id)
        if kind == OPEN:
            self._opened(stream_id)
        elif kind == IDENTITY:
            self._peer_changed(payload)
        elif stream is None:
            pass  # reset here a moment ago
        elif kind == DATA and len(stream.received) + len(payload) + stream.read <= CREDIT:
            stream.received += payload
            self._events.append(StreamReadable(stream_id))
        elif kind == CREDIT_MORE and len(payload) == 4:
            stream.credit = min(CREDIT, stream.credit + int.from_bytes(payload, "big"))
        elif kind == EOF:
            stream.peer_eof = True
        elif kind == RESET:
            self._close_stream(stream_id, ClosedByPeer("the peer reset the stream"))
        else:
            self._end(RemoteProtocolError(f"segment {kind} breaks the protocol"))

    def _opened(self, stream_id: StreamId) -> None:
        if stream_id != self._last_remote_id + 2:
            self._end(RemoteProtocolError(f"stream {stream_id} cannot be opened"))
            return
        self._last_remote_id = stream_id
        if len(self._streams) >= MOST_STREAMS:
            self._push(RESET, stream_id)
            return
        self._streams[stream_id] = _Stream()
        self._events.append(StreamOpened(stream_id))

    def _peer_changed(self, proof: bytes) -> None:
        peer = self._hello.changed(proof)
        if peer is None:
            self._end(RemoteProtocolError("the peer's new identity is not of its lineage"))
        else:
            self._events.append(PeerIdentityChanged(peer))

    def _settle(self, stream_id: StreamId, stream: _Stream) -> None:
        """Say what has become true of a stream: writable, ended, closed."""
        if stream.blocked and stream.credit and self._channel.room > 0:
            stream.blocked = False
            self._events.append(StreamWritable(stream_id))
        if stream.peer_eof and not stream.received and not stream.ended:
            stream.ended = True
            self._events.append(StreamEnded(stream_id))
        if stream.ended and stream.eof is not None and self._channel.acked > stream.eof:
            self._close_stream(stream_id, None)

    def _goodbye(self) -> None:
        self._leaving = ClosedByPeer("the peer closed the connection")
        for stream_id, stream in list(self._streams.items()):
            complete = stream.eof is not None and self._channel.acked > stream.eof
            if not (stream.peer_eof and complete):
                self._close_stream(stream_id, self._leaving)
        if not self._streams:
            self._end(self._leaving)

    # Ends

    def _open(self, stream_id: StreamId) -> _Stream:
        if stream_id not in self._streams:
            raise LocallyClosed(f"stream {stream_id} is not open")
        return self._streams[stream_id]

    def _push(self, kind: int, stream_id: StreamId, payload: bytes = b"") -> int:
        return self._channel.push(SEGMENT.pack(kind, stream_id) + payload)

    def _close_stream(self, stream_id: StreamId, error: KeynetError | None) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._events.append(StreamClosed(stream_id, error))
        if self._leaving and not self._streams:
            self._end(self._leaving)

    def _end(self, error: KeynetError | None) -> None:
        if self._over:
            return
        self._over, self._leaving = True, None
        for stream_id in list(self._streams):
            self._close_stream(stream_id, error or LocallyClosed("the connection was closed"))
        self._channel = Channel()
        self._hello_at = None
        self._last = ConnectionTerminated(error)
