"""The asyncio face of one stream, whatever engine carries it.

It holds what the engine did not take yet, and wakes whoever waits. The engine decides everything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from keynet.engine import Buffer
from keynet.errors import ClosedError, KeynetError, LocallyClosed, LocalProtocolError
from keynet.transport.api import StreamId

if TYPE_CHECKING:
    from keynet.transport.connection import Connection

DEFAULT_READ = 1 << 18
CLOSE_TIMEOUT = 2.0
"""Seconds that `aclose` waits for the peer's end before it resets."""


class Stream:
    """A reliable byte stream with half-close. Not for use by two readers at once.

    Every method raises ClosedError (or what broke the stream) once it is broken. All coroutines
    may be cancelled; no bytes are lost by that.
    """

    def __init__(self, connection: Connection, stream_id: StreamId) -> None:
        self.connection = connection
        self._id = stream_id
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._eof_written = False
        self._ended = False
        self._closed = False
        self._error: KeynetError | None = None
        self._readable: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._done: asyncio.Future[None] | None = None

    # Reading

    async def read(self, max_bytes: int = DEFAULT_READ) -> bytes:
        """The next bytes, up to about `max_bytes`; b"" at the peer's clean end."""
        if max_bytes <= 0:
            return b""
        while True:
            data = self._take(max_bytes)
            if data or self._ended:
                return data
            self._check_open()
            if self._readable is not None:
                raise LocalProtocolError("another task is already reading this stream")
            self._readable = self.connection.loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None

    def _take(self, max_bytes: int) -> bytes:
        if self._closed or self._ended:
            return b""
        return self.connection.read(self._id, max_bytes)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the start of `buffer`; returns how many bytes, 0 at the peer's clean end."""
        data = await self.read(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    # Writing

    def write(self, data: Buffer) -> None:
        """Send all of `data`, or buffer it: await `drain` between writes. Keeps no reference."""
        self._check_open()
        if self._eof_written:
            raise LocallyClosed("the stream's end was already written")
        taken = 0 if self._unsent else self.connection.write(self._id, data)
        if taken < len(data):
            self._check_open()
            rest = memoryview(bytes(memoryview(data)[taken:]))  # the caller may reuse its buffer
            self._unsent.append(rest)
            self._unsent_bytes += len(rest)

    @property
    def buffered(self) -> int:
        """Bytes written that the engine has no room for yet."""
        return self._unsent_bytes

    async def drain(self) -> None:
        """Wait until the engine has taken all that was written: back-pressure."""
        while self._unsent:
            self._check_open()
            if self._drained is None:
                self._drained = self.connection.loop.create_future()
            await asyncio.shield(self._drained)
        self._check_open()

    def write_eof(self) -> None:
        """End this side's bytes after what was written; reading goes on. Idempotent."""
        if not self._eof_written and not self._closed:
            self._eof_written = True
            if not self._unsent:
                self.connection.write_eof(self._id)

    # Ending

    def reset(self) -> None:
        """Drop the stream at once, both ways. Idempotent; whoever waits gets LocallyClosed."""
        if not self._closed:
            self.connection.reset(self._id)
            self.closed(LocallyClosed("the stream was reset on this side"))

    async def aclose(self) -> None:
        """End cleanly; what the peer has not ended after a short time is reset. Idempotent.

        What it still says meanwhile is thrown away, unless another task is reading.
        """
        with contextlib.suppress(KeynetError):  # it has broken, and will say so in a moment
            self.write_eof()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._discard()
                await self.wait_closed()
        except TimeoutError:
            pass
        finally:
            self.reset()

    async def _discard(self) -> None:
        """Read to the peer's end, which is found by reading only."""
        with contextlib.suppress(KeynetError):
            while self._readable is None and not self._ended and not self._closed:
                await self.read()

    async def wait_closed(self) -> None:
        """Wait until both directions have ended, or the stream is broken."""
        while not self._closed:
            if self._done is None:
                self._done = self.connection.loop.create_future()
            await asyncio.shield(self._done)

    @property
    def error(self) -> KeynetError | None:
        """Why the stream broke; None while it lives and after a clean end."""
        return self._error

    def _check_open(self) -> None:
        if self._error is not None:
            raise _again(self._error)
        if self._closed:
            raise LocallyClosed("the stream is closed")

    # What the connection tells

    def readable(self) -> None:
        _wake(self._readable)

    def writable(self) -> None:
        """The engine has room: give it what waits."""
        while self._unsent:
            data = self._unsent.popleft()
            taken = self.connection.write(self._id, data)
            self._unsent_bytes -= taken
            if taken < len(data):
                self._unsent.appendleft(data[taken:])
                return
        if self._eof_written:
            self.connection.write_eof(self._id)
        self._wake_drained()

    def ended(self) -> None:
        self._ended = True
        _wake(self._readable)

    def closed(self, error: KeynetError | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._error = error
        self._unsent.clear()
        self._unsent_bytes = 0
        _wake(self._readable)
        self._wake_drained()
        _wake(self._done)

    def _wake_drained(self) -> None:
        drained, self._drained = self._drained, None
        _wake(drained)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _again(error: KeynetError) -> KeynetError:
    """The stream's one error, ready to be raised to one more caller."""
    return error.with_traceback(None) if isinstance(error, ClosedError) else error
