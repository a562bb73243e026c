"""A dialer and a listener of one transport on an EnginePair, with a small application at each end.

The applications watch the order of events for every check: what they see out of order is T-06.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from keynet.address import NodeId
from keynet.engine import Datagrams
from keynet.errors import KeynetError, LocallyClosed
from keynet.identity import Identity, PeerIdentity
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, EnginePair, Side, StaticLink
from keynet.testing.transport.rules import RuleBroken, TransportFactory
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
)

ORDER = ("T-06", "events come in order")
SILENCE = ("T-42", "after termination an engine is silent")

MOST_RECEIVED = 64 << 20
"""Bytes after which a stream that never stops giving is taken to be broken."""


@cache
def identity(name: str) -> Identity:
    """The same identity for the same name, made once a process."""
    return Identity.generate() if not name.endswith("'") else identity(name[:-1]).rotate()


def payload(size: int, seed: int = 0) -> bytes:
    """`size` bytes that look random and are the same for the same seed."""
    return random.Random(seed).randbytes(size)


@dataclass
class StreamLog:
    """What has happened on one stream, at one end."""

    established: bool = False
    """Opened by the peer, or confirmed after it was opened here."""
    received: bytearray = field(default_factory=bytearray)
    ended: bool = False
    closed: bool = False
    error: KeynetError | None = None
    taken: int = 0
    """Bytes that the engine accepted."""
    unsent: bytes = b""
    eof_wanted: bool = False


class App:
    """Drives one engine: sends what it is asked to send, reads what comes, keeps a log."""

    def __init__(self, name: str, side: Side, clock: Callable[[], float]) -> None:
        self.name = name
        self.side = side
        self.peer: PeerIdentity | None = None
        self.terminated: ConnectionTerminated | None = None
        self.streams: dict[StreamId, StreamLog] = {}
        self.opened: list[StreamId] = []
        """Streams that the peer opened, oldest first."""
        self.reading = True
        self.on_stream: Callable[[StreamId], None] | None = None
        """Called when the peer has opened a stream."""
        self.on_ended: Callable[[StreamId], None] | None = None
        """Called when a stream's bytes are complete."""
        self._clock = clock
        side.on_event = self._on_event

    @property
    def engine(self) -> TransportEngine:
        engine: TransportEngine = self.side.engine
        return engine

    def open(self) -> StreamId:
        stream_id = self.engine.open_stream(self._clock())
        self.streams[stream_id] = StreamLog()
        return stream_id

    def send(self, stream_id: StreamId, data: bytes, *, eof: bool = False) -> None:
        """Write as the engine takes it, and then perhaps the end."""
        stream = self.streams[stream_id]
        stream.unsent += data
        stream.eof_wanted |= eof
        if stream.established:
            self._write(stream_id, stream)

    def read(self) -> None:
        """Read whatever there is, on every stream."""
        for stream_id, stream in self.streams.items():
            if not stream.closed:
                self._read(stream_id, stream)

    def close(self) -> None:
        self.engine.close(self._clock())

    def reset(self, stream_id: StreamId) -> None:
        self.engine.reset(stream_id, self._clock())

    def _write(self, stream_id: StreamId, stream: StreamLog) -> None:
        try:
            self._offer(stream_id, stream)
        except LocallyClosed:  # its StreamClosed is waiting to be taken
            stream.unsent, stream.eof_wanted = b"", False

    def _offer(self, stream_id: StreamId, stream: StreamLog) -> None:
        if stream.unsent:
            taken = self.engine.write(stream_id, memoryview(stream.unsent), self._clock())
            assert 0 <= taken <= len(stream.unsent), f"write took {taken} of {len(stream.unsent)}"
            stream.taken += taken
            stream.unsent = stream.unsent[taken:]
        if stream.eof_wanted and not stream.unsent:
            stream.eof_wanted = False
            self.engine.write_eof(stream_id, self._clock())
            self.engine.write_eof(stream_id, self._clock())  # harmless: it is idempotent

    def _read(self, stream_id: StreamId, stream: StreamLog) -> None:
        while data := self._read_some(stream_id):
            stream.received += data
            assert len(stream.received) <= MOST_RECEIVED, "a stream gives bytes without end"

    def _read_some(self, stream_id: StreamId) -> bytes:
        try:
            return self.engine.read(stream_id, 65536, self._clock())
        except LocallyClosed:  # its StreamClosed is waiting to be taken
            return b""

    def _on_event(self, event: Any) -> None:
        if self.terminated is not None:
            self._out_of_order(event, "came after ConnectionTerminated")
        match event:
            case HandshakeCompleted(peer):
                if self.peer is not None:
                    self._out_of_order(event, "came twice")
                self.peer = peer
            case PeerIdentityChanged(peer):
                if self.peer is None or not peer.matches(self.peer.node_id):
                    self._out_of_order(event, "names another node than the handshake did")
                self.peer = peer
            case ConnectionTerminated():
                self._check_is_over(event)
                self.terminated = event
            case _:
                self._on_stream_event(event)

    def _on_stream_event(self, event: Any) -> None:
        if self.peer is None and not isinstance(event, StreamClosed):
            self._out_of_order(event, "came before HandshakeCompleted")
        if isinstance(event, StreamOpened):
            if event.stream_id in self.streams:
                self._out_of_order(event, "names a stream that was there before")
            self.streams[event.stream_id] = StreamLog(established=True)
            self.opened.append(event.stream_id)
            if self.on_stream is not None:
                self.on_stream(event.stream_id)
            return
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.closed:
            self._out_of_order(event, "names a stream that is not open")
        else:
            self._on_known_stream(event, event.stream_id, stream)

    def _on_known_stream(self, event: Any, stream_id: StreamId, stream: StreamLog) -> None:
        match event:
            case StreamEstablished():
                stream.established = True
                self._write(stream_id, stream)
            case StreamReadable():
                if self.reading:
                    self._read(stream_id, stream)
            case StreamWritable():
                self._write(stream_id, stream)
            case StreamEnded():
                if stream.ended:
                    self._out_of_order(event, "came twice")
                stream.ended = True
                if self.on_ended is not None:
                    self.on_ended(stream_id)
            case StreamClosed(_, error):
                stream.closed, stream.error = True, error

    def _check_is_over(self, event: Any) -> None:
        left = [stream_id for stream_id, stream in self.streams.items() if not stream.closed]
        if left:
            self._out_of_order(event, f"came before StreamClosed of {left}")
        if self.engine.datagrams_to_send(self._clock()):
            raise RuleBroken(*SILENCE, f"{event} came before the {self.name}'s last datagrams")

    def _out_of_order(self, event: Any, why: str) -> None:
        raise RuleBroken(*ORDER, f"at the {self.name}, {event} {why}")


class Scene:
    """Two identities, a path between them, and `dialer` and `listener` on it."""

    def __init__(
        self,
        make: TransportFactory,
        *,
        link: LinkModel | None = None,
        seed: int = 0,
        mtu: int = 1200,
        mtu_ceiling: int = 1472,
        listening: Identity | None = None,
        expected: NodeId | None = None,
    ) -> None:
        """`mtu` and `mtu_ceiling` are what both ends' links say; `link` is how the path really is.

        The dialer asks for `expected`: the listener's own id by default.
        """
        self.transport = make()
        self.dialing, self.listening = identity("dialer"), listening or identity("listener")
        links = [StaticLink(mtu, mtu_ceiling) for _ in range(2)]

        def accept(first: Datagrams, now: float) -> TransportEngine | None:
            if not self.transport.claims(bytes(next(iter(first)))):
                return None
            return self.transport.accept(links[1], first, self.listening, now)

        asked_for = expected or self.listening.node_id
        engine = self.transport.connect(links[0], self.dialing, asked_for, START)
        self.pair = EnginePair(engine, accept, link=link, seed=seed)
        self.dialer = App("dialer", self.pair.a, self._clock)
        self.listener = App("listener", self.pair.b, self._clock)
        self._greetings = 0

    def connect(self) -> Scene:
        """Let both ends complete the handshake."""
        self.run(lambda: self.dialer.peer and self.listener.peer)
        return self

    def run(self, until: Callable[[], object] | float, *, limit: float = 120.0) -> None:
        self.pair.run(until, limit=limit)

    def open(self) -> tuple[StreamId, StreamId]:
        """A stream opened by the dialer, on which a greeting was sent and read: its id at each end.

        The listener's is found by the greeting: a transport may open streams in advance.
        """
        here = self.dialer.open()
        self._greetings += 1
        greeting = b"greeting %04d" % self._greetings
        self.dialer.send(here, greeting)
        self.run(lambda: self._greeted(greeting) is not None)
        there = self._greeted(greeting)
        assert there is not None
        self.listener.streams[there].received.clear()
        self.dialer.streams[here].taken = 0
        return here, there

    def _greeted(self, greeting: bytes) -> StreamId | None:
        streams = self.listener.streams
        return next((i for i in self.listener.opened if streams[i].received == greeting), None)

    def change_path(self, model: LinkModel, mtu: int, rtt: float | None = None) -> None:
        """Move both ends to another path; what is in flight on the old one is lost."""
        for side in (self.pair.a, self.pair.b):
            side.pipe.clear()
            side.pipe.model = model
        for app in (self.dialer, self.listener):
            app.engine.path_changed(mtu, rtt, self.pair.now)

    def _clock(self) -> float:
        return self.pair.now
