"""Writing a session's output to its stream: one write for all that is said in one turn."""

from __future__ import annotations

import asyncio
import contextlib

from keynet.errors import KeynetError
from keynet.rpc.api import ByteStream
from keynet.rpc.jsonrpc.session.output import Output

HIGH_WATER = 262_144
"""Bytes that may wait for room in the stream before nothing more is said."""


class Outbound:
    """The way out of one session. A stream that is broken says so to its reader, not here."""

    __slots__ = ("_loop", "_output", "_scheduled", "_stream")

    def __init__(self, stream: ByteStream, output: Output) -> None:
        """Make it in the event loop that runs the stream."""
        self._stream = stream
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._scheduled = False

    @property
    def congested(self) -> bool:
        """Whether to await `room` before saying anything that is not small."""
        return self._output.size + self._stream.buffered > HIGH_WATER

    def flush_soon(self) -> None:
        """Write what waits, with all that is said until the event loop's next turn."""
        if not self._scheduled and self._output.size:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    async def room(self) -> None:
        """Wait until the peer, or the path to it, has taken enough. Cancellable."""
        with contextlib.suppress(KeynetError):
            while self.congested:
                self._write()
                await self._stream.drain()

    async def drain(self) -> None:
        """Wait until everything that was said is on its way. Cancellable."""
        self.flush()
        with contextlib.suppress(KeynetError):
            await self._stream.drain()

    def flush(self) -> None:
        """Write what waits, now."""
        self._scheduled = False
        with contextlib.suppress(KeynetError):
            self._write()

    def _write(self) -> None:
        data = self._output.take()
        if data:
            self._stream.write(data)
