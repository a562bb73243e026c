"""One local TCP or Unix-socket connection, as the proxies use it. What it is piped to: `pipe.py`.

A `TcpEnd` first collects what arrives, for whoever reads the head; with `attach` the bytes go
straight from the receive buffer to a sink, without a copy, a task or a wake-up between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Protocol, cast

from keynet.config.values import LocalAddress, UnixPath
from keynet.errors import ClosedByPeer, LocallyClosed

RECEIVE_BUFFER = 262144
"""Bytes read at a time when piping."""

MAX_EARLY = 65536
"""Bytes kept of a client that sends before it has an answer; then its socket is not read."""

_WRITE_HIGH = 262144
_WRITE_LOW = 65536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


async def connect(address: LocalAddress, buffer: memoryview, max_early: int = MAX_EARLY) -> TcpEnd:
    """A connection to a server of this machine. Raises OSError, or UnicodeError for the name."""
    loop = asyncio.get_running_loop()
    end = TcpEnd(buffer, max_early=max_early)
    if isinstance(address, UnixPath):
        await loop.create_unix_connection(lambda: end, address.path)
    else:
        await loop.create_connection(lambda: end, address.host, address.port)
    return end


class Sink(Protocol):
    """Where an attached end's bytes go. `data` must not keep the view: the buffer is reused."""

    def data(self, view: memoryview) -> None: ...

    def eof(self) -> None: ...

    def lost(self) -> None: ...


def receive_buffer() -> memoryview:
    """A buffer to be shared by all ends of one event loop.

    Sharing is safe because a loop fills it and calls `buffer_updated` in one go. So an idle
    connection holds no buffer at all.
    """
    return memoryview(bytearray(RECEIVE_BUFFER))


class TcpEnd(asyncio.BufferedProtocol):
    """The protocol of one connection, and the verbs to use it."""

    __slots__ = (
        "_buffer",
        "_early",
        "_max_early",
        "_on_connect",
        "_on_gone",
        "_sink",
        "_transport",
        "_waiter",
        "_writable",
        "closed",
        "ended",
        "error",
    )

    def __init__(
        self,
        buffer: memoryview,
        on_connect: Callable[[TcpEnd], None] | None = None,
        max_early: int = MAX_EARLY,
    ) -> None:
        """`max_early` is for those who never attach: they read a quarter of it at a time."""
        self._buffer = buffer
        self._max_early = max_early
        self._on_connect = on_connect
        self._on_gone: Callable[[], object] | None = None
        self._transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._early = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self.ended = False
        """The other side has sent its last byte."""
        self.closed = False
        """There is no connection any more."""
        self.error: ClosedByPeer | None = None
        """What broke the connection, if something did."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_connect is not None:
            self._on_connect(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer if self._sink is not None else self._buffer[: self._max_early // 4]

    def buffer_updated(self, nbytes: int) -> None:
        if self._sink is not None:
            self._sink.data(self._buffer[:nbytes])
            return
        self._early += self._buffer[:nbytes]
        if len(self._early) >= self._max_early:
            self.pause()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        if self._sink is not None:
            self._sink.eof()
        self._gone()
        return True  # keep the way back open

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = self.closed = True
        if exc is not None:
            self.error = ClosedByPeer(f"the local connection broke off: {exc}")
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._sink is not None:
            self._sink.lost()
        self._sink = None
        self._gone()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the proxies call.

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise LocallyClosed("not connected yet")
        return self._transport

    async def receive(self) -> bytes:
        """What has arrived before `attach`; b"" at the end. Cancellable."""
        while not self._early and not self.ended:
            await self._news()
        return self._take_early()

    async def wait_closed(self) -> None:
        """Wait until all that was written before `close` has been sent. Cancellable."""
        while not self.closed:
            await self._news()

    def when_gone(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` called, once, when the other side ends or breaks; None for no more."""
        self._on_gone = callback
        if callback is not None and self.ended:
            self._gone()

    def attach(self, sink: Sink) -> None:
        """Hand what has arrived, and whatever comes, to `sink`."""
        early = self._take_early()
        self._sink = sink
        if early:
            sink.data(memoryview(early))
        if self.closed:
            sink.lost()
        elif self.ended:
            sink.eof()

    def detach(self) -> None:
        """Hand nothing more to the sink."""
        self._sink = None

    def write(self, data: bytes) -> None:
        """Send, or buffer, all of `data`; dropped when the connection is gone."""
        if not self.closed:
            self.transport.write(memoryview(data))  # a view: what is left over is not copied twice

    async def drain(self) -> None:
        """Wait while too much is buffered. Raises ClosedByPeer when the connection is gone."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self.closed:
            raise ClosedByPeer("the local connection is gone")

    @property
    def congested(self) -> bool:
        """Whether `drain` would wait, or fail."""
        return self._writable is not None or self.closed

    def write_eof(self) -> None:
        """Send the end of this side's bytes, after what was written."""
        if not self.closed and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # a reset that has yet to be read: `lost` tells
                self.transport.write_eof()

    def pause(self) -> None:
        """Read no more from the socket for now."""
        if not self.ended and self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.ended and self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after all that was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Break off, so that the other side sees an error (TCP's RST) and not an end."""
        if self._transport is None or self.closed:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._transport.abort()

    async def finish(self, linger: float) -> None:
        """End this side's bytes, drop what arrives until the other side ends too, and close.

        Closing with bytes unread would send an RST, which can overtake and destroy the answer.
        `linger` is the longest wait in seconds.
        """
        self.write_eof()
        try:
            async with asyncio.timeout(linger):
                while await self.receive():
                    continue
        except TimeoutError:
            self.abort()
        finally:
            self.close()

    def _take_early(self) -> bytes:
        early = bytes(self._early)
        self._early.clear()
        self.resume()
        return early

    def _gone(self) -> None:
        self._wake()
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    async def _news(self) -> None:
        """Wait for bytes, the end or the loss of the connection. One task at a time."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
