"""The transport layer's contract: what a data-transfer plugin implements, and what it is given.

A plugin is a factory function under the entry-point group `keynet.transport` that returns a
`Transport`. It writes no socket code and no path logic: the link below it owns the addresses, the
asyncio shell (`keynet.transport.connection`, `.stream`, `.host`) above it owns tasks and timers.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams, Engine
from keynet.errors import KeynetError
from keynet.identity import Identity, PeerIdentity
from keynet.udp.budget import ReceiveBudget

GROUP = "keynet.transport"
"""The entry-point group in which transports are found."""

StreamId = int


class Capability(enum.Flag):
    """What a transport can do; conformance checks are chosen by it, not by name."""

    NONE = 0
    STREAMS = enum.auto()
    """Reliable, ordered byte streams with half-close."""
    DATAGRAMS = enum.auto()
    """Unreliable messages."""
    LIVENESS = enum.auto()
    """Every datagram received is authenticated, so that receipt proves that the peer lives."""


class LinkInfo(Protocol):
    """All that an engine may know of the link below it: no addresses, no sockets."""

    @property
    def mtu(self) -> int:
        """The largest UDP payload, in bytes, that the path in use is known to take."""

    @property
    def mtu_ceiling(self) -> int:
        """The largest UDP payload worth probing for: what the local interface takes."""

    @property
    def rtt(self) -> float | None:
        """A measured round-trip time in seconds, or None before the first one."""

    @property
    def budget(self) -> ReceiveBudget:
        """The receive budget of the endpoint that the link runs over."""


# Events. Frozen, in the past tense; a stream's events never come after its StreamClosed.


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The peer has proved its identity. Comes once, before any stream is established or opened."""

    peer: PeerIdentity


@dataclass(frozen=True, slots=True)
class PeerIdentityChanged:
    """The peer has proved a newer key, or a newer certificate, of the same lineage."""

    peer: PeerIdentity


@dataclass(frozen=True, slots=True)
class StreamEstablished:
    """A stream opened by this side can be written and read."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream (and has proved its identity on it)."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class StreamReadable:
    """`read` may give bytes now, or has reached the end."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """`write` accepts bytes again after it had accepted fewer than were offered."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer's bytes are complete and all of them have been read. Writing may go on."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """Nothing more will happen on the stream."""

    stream_id: StreamId
    error: KeynetError | None
    """None when both directions ended cleanly; else why it broke."""


@dataclass(frozen=True, slots=True)
class ConnectionTerminated:
    """The connection and all its streams are gone. Always the last event."""

    error: KeynetError | None
    """None after a local close."""


TransportEvent = (
    HandshakeCompleted
    | PeerIdentityChanged
    | StreamEstablished
    | StreamOpened
    | StreamReadable
    | StreamWritable
    | StreamEnded
    | StreamClosed
    | ConnectionTerminated
)


class TransportEngine(Engine[TransportEvent], Protocol):
    """One connection to one peer, sans-IO. Stream verbs raise LocallyClosed on unknown streams.

    It may also have a pure method `owns(datagram) -> bool`: whether a datagram from an unknown
    address looks like one of its own, so that a peer whose address has changed is not refused.
    Where the receiver of datagrams chooses their connection ids, an engine says in an attribute
    `connection_ids` (a frozenset, another object when it changes) by which ones it goes now.
    """

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        """The link moved to another path: forget congestion, round-trip and back-off state."""

    def identity_changed(self, local: Identity, now: float) -> None:
        """This node has a newer identity of the same lineage: prove it from now on.

        Streams go on. The next stream, whoever opens it, tells the peer at the latest: it gets
        PeerIdentityChanged.
        """

    def open_stream(self, now: float) -> StreamId:
        """Start a stream; StreamEstablished or StreamClosed follows."""

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        """Offer bytes; returns how many were taken. StreamWritable follows when it was not all."""

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        """Up to about `max_bytes` that have arrived in order; b"" when there are none now."""

    def write_eof(self, stream_id: StreamId, now: float) -> None:
        """End this side's bytes after what was written; reading goes on. Idempotent."""

    def reset(self, stream_id: StreamId, now: float) -> None:
        """Drop the stream at once, both ways. Idempotent."""

    def close(self, now: float) -> None:
        """End every stream and the connection; ConnectionTerminated follows. Idempotent."""

    def stats(self) -> dict[str, float | int | str]:
        """Counters and gauges for people: the names are the transport's own."""


@runtime_checkable
class Transport(Protocol):
    """A way to carry authenticated streams over a link.

    It may also have a pure method `refuse(datagram) -> bytes | None`: what to tell the sender of a
    datagram of a connection that is unknown here, so that a peer learns of a restart at once. The
    answer is never longer than the datagram, and a host sends only so many a second.
    `connection_id` and `first_bytes` are told of in `keynet.udp.demux.Claimant`.
    """

    @property
    def name(self) -> str:
        """Short; what a user types after --transport."""

    @property
    def capabilities(self) -> Capability: ...

    def claims(self, datagram: Buffer) -> bool:
        """Whether an unexpected datagram looks like the first of a connection of this transport.

        Pure and structural: exact lengths, versions and magic bytes, no state.
        """

    def connect(
        self, link: LinkInfo, local: Identity, expected: NodeId, now: float
    ) -> TransportEngine:
        """Dial the peer behind `link`, which must prove `expected`."""

    def accept(
        self, link: LinkInfo, first: Datagrams, local: Identity, now: float
    ) -> TransportEngine:
        """Answer whoever sent `first`. HandshakeCompleted says later who that is."""
