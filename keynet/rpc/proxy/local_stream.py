"""A connection between programs of this machine, as the byte stream that RPC bindings speak over.

What is carried whole from one side to the other is `pipe.py`'s; here a program reads and writes
itself: over the control socket's tunnel, and over a node's stream to itself.
"""

from __future__ import annotations

import asyncio
import socket

from keynet.address import SocketAddress
from keynet.engine import Buffer
from keynet.errors import ClosedByPeer, ClosedError, LocallyClosed
from keynet.identity import PeerIdentity
from keynet.rpc.api import ByteConnection, ByteStream
from keynet.rpc.proxy.tcp import TcpEnd, receive_buffer

CLOSE_TIMEOUT = 2.0
"""Seconds that `aclose` waits for the other side's end."""

HELD = 262144
"""Bytes that wait to be read, before the socket is not read any more."""


class LocalConnection:
    """What a stream of this machine says of its other end: whom it speaks for."""

    remote = SocketAddress("127.0.0.1", 0)
    local = None
    transport = "local"

    def __init__(self, peer: PeerIdentity) -> None:
        self.peer = peer

    async def open_stream(self) -> ByteStream:
        raise LocallyClosed("a local connection is one stream")


class LocalStream:
    """A ByteStream over a socket of this machine; one reader at a time.

    Over a Unix socket a reset looks like an end: it has no other sign.
    """

    def __init__(self, connection: ByteConnection, end: TcpEnd, early: bytes = b"") -> None:
        """`early` are bytes of it that were read already."""
        self.connection = connection
        self._end = end
        self._early = early
        self._eof_read = False
        self._eof_written = False
        self._error: ClosedError | None = None
        self._over = asyncio.Event()
        end.when_gone(self._gone)

    @property
    def buffered(self) -> int:
        return self._end.transport.get_write_buffer_size() if self._end.congested else 0

    @property
    def error(self) -> ClosedError | None:
        return self._error

    async def read(self, max_bytes: int = HELD) -> bytes:
        self._check()
        data = self._early or await self._end.receive()
        self._check()
        self._early = data[max_bytes:]
        if not data:
            self._eof_read = True
            self._end_if_over()
        return data[:max_bytes]

    def write(self, data: Buffer) -> None:
        self._check()
        if self._eof_written:
            raise LocallyClosed("the stream's end was already written")
        self._end.write(bytes(data))

    async def drain(self) -> None:
        self._check()
        try:
            await self._end.drain()
        except ClosedByPeer as error:
            raise self._fail(error) from error
        self._check()

    def write_eof(self) -> None:
        if not self._eof_written and self._error is None:
            self._eof_written = True
            self._end.write_eof()
            self._end_if_over()

    def reset(self) -> None:
        if not self._over.is_set():
            self._fail(LocallyClosed("the stream was reset on this side"))
        self._end.abort()

    async def aclose(self) -> None:
        if self._error is None:
            self.write_eof()
            await self._end.finish(CLOSE_TIMEOUT)
        self._over.set()

    async def wait_closed(self) -> None:
        await self._over.wait()
        self._check()

    def _gone(self) -> None:
        if self._end.closed and not self._over.is_set():
            self._fail(self._end.error or ClosedByPeer("the local connection broke off"))

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _end_if_over(self) -> None:
        if self._eof_read and self._eof_written:
            self._over.set()
            self._end.close()

    def _fail(self, error: ClosedError) -> ClosedError:
        self._error = self._error or error
        self._over.set()
        return self._error


async def stream_pair(connection: ByteConnection) -> tuple[LocalStream, LocalStream]:
    """Two ends of one stream within this process."""
    buffer = receive_buffer()
    near, far = socket.socketpair()
    try:
        ends = (await _adopt(near, buffer), await _adopt(far, buffer))
    except BaseException:
        near.close()
        far.close()
        raise
    return LocalStream(connection, ends[0]), LocalStream(connection, ends[1])


async def _adopt(sock: socket.socket, buffer: memoryview) -> TcpEnd:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    end = TcpEnd(buffer, max_early=HELD)
    if sock.family in (socket.AF_INET, socket.AF_INET6):  # where there are no Unix sockets
        await loop.create_connection(lambda: end, sock=sock)
    else:
        await loop.create_unix_connection(lambda: end, sock=sock)
    return end
