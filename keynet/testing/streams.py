"""Connections and streams in memory, with the faces of the real ones, to test what uses them.

No transport is involved: bytes written at one end can be read at the other at once. Writing
beyond what the reader takes is buffered, as in the real ones, and `drain` then waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.engine import Buffer
from keynet.errors import ClosedByPeer, ClosedError, ConnectionLost, LocallyClosed
from keynet.identity import Identity, PeerIdentity, verify_chain

HIGH_WATER = 262144
"""Unread bytes in one direction above which `drain` waits."""


class _Direction:
    """Bytes on their way from one end to the other."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.largest = 0
        self.ended = False
        self.changed = asyncio.Event()

    def put(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)
        self.largest = max(self.largest, self.size)
        self.changed.set()

    def take(self, max_bytes: int) -> bytes:
        data = self.chunks.popleft()
        if len(data) > max_bytes:
            self.chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.size -= len(data)
        self.changed.set()
        return data

    async def until_changed(self) -> None:
        self.changed.clear()
        await self.changed.wait()


class MemoryStream:
    """One end of a stream."""

    def __init__(
        self, connection: MemoryConnection, outward: _Direction, inward: _Direction
    ) -> None:
        self.connection = connection
        self._out = outward
        self._in = inward
        self._error: ClosedError | None = None
        self._twin: MemoryStream | None = None
        self._read_to_end = False

    @classmethod
    def pair(cls, here: MemoryConnection, there: MemoryConnection) -> tuple[MemoryStream, ...]:
        one, other = _Direction(), _Direction()
        near, far = cls(here, one, other), cls(there, other, one)
        near._twin, far._twin = far, near
        return near, far

    @property
    def largest_backlog(self) -> int:
        """The most bytes that this end has ever had written and not yet read by the other."""
        return self._out.largest

    @property
    def buffered(self) -> int:
        """Bytes written for which the other end has no room yet."""
        return max(0, self._out.size - HIGH_WATER)

    @property
    def error(self) -> ClosedError | None:
        """What broke the stream at this end."""
        return self._error

    async def read(self, max_bytes: int = 262144) -> bytes:
        while True:
            if self._in.chunks and not isinstance(self._error, LocallyClosed):
                return self._in.take(max_bytes)
            self._check()
            if self._in.ended:
                self._read_to_end = True
                self._in.changed.set()
                self._out.changed.set()
                return b""
            await self._in.until_changed()

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        data = await self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Buffer) -> None:
        self._check()
        if self._out.ended:
            raise LocallyClosed("written after write_eof")
        if len(data):
            self._out.put(bytes(data))

    async def drain(self) -> None:
        self._check()
        while self.buffered:
            await self._out.until_changed()
            self._check()

    def write_eof(self) -> None:
        self._check()
        self._out.ended = True
        self._out.changed.set()

    def reset(self) -> None:
        if self._finished:
            return
        self.fail(LocallyClosed("reset by this side"))
        if self._twin is not None:
            self._twin.fail(ClosedByPeer("reset by the peer"))

    def fail(self, error: ClosedError) -> None:
        """Break this end with `error`, unless it is broken already."""
        if self._error is None and not self._finished:
            self._error = error
        self._in.changed.set()
        self._out.changed.set()

    async def aclose(self) -> None:
        if self._error is None:
            self.write_eof()

    async def wait_closed(self) -> None:
        while not self._finished and self._error is None:
            await self._in.until_changed()

    @property
    def _finished(self) -> bool:
        return self._read_to_end and self._out.ended

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


@dataclass(eq=False)
class MemoryConnection:
    """One end of a connection."""

    peer: PeerIdentity
    remote: SocketAddress
    local: SocketAddress | None
    transport: str = "memory"

    def __post_init__(self) -> None:
        self.closed = False
        self.streams: list[MemoryStream] = []
        self._incoming: asyncio.Queue[MemoryStream | None] = asyncio.Queue()
        self._other: MemoryConnection | None = None

    async def open_stream(self) -> MemoryStream:
        other = self._other
        if self.closed or other is None:
            raise ConnectionLost("the connection is closed")
        near, far = MemoryStream.pair(self, other)
        self.streams.append(near)
        other.streams.append(far)
        other._incoming.put_nowait(far)
        return near

    async def accept_stream(self) -> MemoryStream:
        stream = await self._incoming.get()
        if stream is None:
            self._incoming.put_nowait(None)
            raise ConnectionLost("the connection is closed")
        return stream

    def lose(self, reason: str) -> None:
        """Have the path die, as both ends see it."""
        for end in (self, self._other):
            if end is not None and not end.closed:
                end.closed = True
                end._incoming.put_nowait(None)
                for stream in end.streams:
                    stream.fail(ConnectionLost(reason))

    async def aclose(self) -> None:
        self.lose("the connection was closed")


def connected(dialer: Identity, listener: Identity) -> tuple[MemoryConnection, MemoryConnection]:
    """A connection's two ends, the dialer's first. Call it in a running event loop."""
    here, there = SocketAddress("192.0.2.1", 4001), SocketAddress("192.0.2.2", 4002)
    near = MemoryConnection(verify_chain(listener.chain, None), there, here)
    far = MemoryConnection(verify_chain(dialer.chain, None), here, there)
    near._other, far._other = far, near
    return near, far
