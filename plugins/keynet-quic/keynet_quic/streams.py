"""The streams of a connection as the application sees them: what is unread, ended, over. Pure.

aioquic's streams send and reassemble; here is only what it does not keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aioquic.quic.stream import QuicStream

SEND_BUFFER = 1 << 20
"""Bytes of one stream that are kept until the peer has acknowledged them."""


@dataclass(slots=True, eq=False)
class Stream:
    """One bidirectional stream."""

    quic: QuicStream
    received: bytearray = field(default_factory=bytearray)
    """What has arrived in order and is unread."""
    announced: bool = False
    """StreamEstablished or StreamOpened has been said."""
    blocked: bool = False
    """A write was not taken whole."""
    complete: bool = False
    """All of the peer's bytes have arrived."""
    ended: bool = False
    """And have been read, and StreamEnded has been said."""
    eof_written: bool = False

    @property
    def stream_id(self) -> int:
        assert self.quic.stream_id is not None, "only aioquic's crypto streams have no id"
        return self.quic.stream_id

    @property
    def room(self) -> int:
        """Bytes that may be written."""
        sender = self.quic.sender
        return SEND_BUFFER - (sender._buffer_stop - sender._buffer_start)

    @property
    def delivered(self) -> bool:
        """The peer has acknowledged our bytes and their end."""
        return self.eof_written and self.quic.sender.is_finished

    def take(self, max_bytes: int) -> bytes:
        """Read; the caller gives credit for it."""
        data = bytes(self.received[:max_bytes])
        del self.received[:max_bytes]
        return data


class Streams:
    """All of them by id; satisfies `keynet_quic.connection.Inbox`."""

    def __init__(self, *, dialing: bool) -> None:
        self._live: dict[int, Stream] = {}
        self._dialing = dialing
        self._next_remote = 1 if dialing else 0

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Stream]:
        """A snapshot."""
        return iter(list(self._live.values()))

    def add(self, quic: QuicStream) -> Stream:
        stream = Stream(quic)
        self._live[stream.stream_id] = stream
        return stream

    def is_ours(self, stream_id: int) -> bool:
        """Whether this side opened it: the dialer's ids are even (RFC 9000 section 2.1)."""
        return (stream_id & 1 == 0) is self._dialing

    def opened_up_to(
        self, stream_id: int, find: Callable[[int], QuicStream | None]
    ) -> Iterator[Stream]:
        """Those that the peer has opened with `stream_id`: it opens all before it, too."""
        while not self.is_ours(stream_id) and self._next_remote <= stream_id:
            quic = find(self._next_remote)
            self._next_remote += 4
            if quic is not None:
                yield self.add(quic)

    def get(self, stream_id: int) -> Stream | None:
        return self._live.get(stream_id)

    def remove(self, stream: Stream) -> bool:
        """False when it is gone already."""
        return self._live.pop(stream.stream_id, None) is not None

    @property
    def unread(self) -> int:
        return sum(len(stream.received) for stream in self._live.values())

    def unread_of(self, stream_id: int) -> int:
        stream = self._live.get(stream_id)
        return len(stream.received) if stream is not None else 0
