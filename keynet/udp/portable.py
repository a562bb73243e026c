"""The receiving half of one socket on any asyncio loop: no add_reader, no control messages.

Windows' proactor loop and embedded ones have no more than DatagramProtocol. Every datagram is a
batch of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from keynet.engine import Datagrams
from keynet.udp.api import Receiver
from keynet.udp.receiving import Received
from keynet.udp.route import PathCache
from keynet.udp.zones import SockAddr

_RETRY = 0.001
"""Seconds until a full socket is tried again: the loop cannot say when it has room."""

_LARGEST_RECEIVE = 65536


class PortableReader(asyncio.DatagramProtocol):
    """Receives through asyncio's own datagram transport."""

    def __init__(
        self,
        sock: socket.socket,
        on_writable: Callable[[], bool],
        on_broken: Callable[[OSError], None],
    ) -> None:
        """`on_writable` says whether waiting for room is over."""
        self.received = Received()
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._on_writable = on_writable
        self._on_broken = on_broken
        self._receiver: Receiver | None = None
        self._paths = PathCache()
        self._transport: asyncio.BaseTransport | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._drain_due = False
        self._closed = False

    async def attach(self) -> None:
        """Let the loop read the socket."""
        await self._loop.create_datagram_endpoint(lambda: self, sock=self._sock)

    def start(self, receiver: Receiver) -> None:
        """Hand datagrams to `receiver` from now on."""
        self._receiver = receiver

    def await_writable(self) -> None:
        """Call `on_writable` again and again, until it returns True."""
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_later(_RETRY, self._try_writable)

    def close(self) -> None:
        """Stop, and close the socket; idempotent."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = transport
        if hasattr(transport, "max_size"):  # 256 KiB, which malloc maps anew for each datagram
            transport.max_size = _LARGEST_RECEIVE

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        if not self._closed:
            self._on_broken(exc if isinstance(exc, OSError) else OSError("the transport closed"))

    def error_received(self, exc: Exception) -> None:
        """asyncio's."""
        if not self._closed and isinstance(exc, OSError) and self.received.is_broken(exc):
            self._on_broken(exc)

    def datagram_received(self, data: bytes, addr: SockAddr) -> None:
        """asyncio's."""
        receiver, received = self._receiver, self.received
        received.receives += 1
        if receiver is None or self._closed or not data:
            received.unusable += 1
            return
        received.batches += 1
        received.octets += len(data)
        if not self._drain_due:
            self._drain_due = True
            self._loop.call_soon(self._drained)
        receiver.datagrams_received(Datagrams(data), self._paths[addr, None], self._loop.time())

    def _drained(self) -> None:
        self._drain_due = False
        self.received.wakeups += 1
        if self._receiver is not None and not self._closed:
            self._receiver.drained(self._loop.time())

    def _try_writable(self) -> None:
        self._retry = None
        if not self._on_writable():
            self.await_writable()
