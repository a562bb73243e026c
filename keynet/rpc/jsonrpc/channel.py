"""A channel to one peer: one stream for all calls, opened for the first and again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from keynet.errors import KeynetError, LocallyClosed, RpcError
from keynet.rpc.api import ByteStream, Request
from keynet.rpc.jsonrpc.call import Call
from keynet.rpc.jsonrpc.caller import Caller
from keynet.rpc.jsonrpc.session.settings import DEFAULT, Settings
from keynet.rpc.status import Status, from_network, rpc_error


class Channel:
    """The `keynet.rpc.api.Channel` of this binding."""

    def __init__(
        self, open_stream: Callable[[], Awaitable[ByteStream]], settings: Settings
    ) -> None:
        """`open_stream` is awaited when a call needs a stream and there is none."""
        self._open_stream = open_stream
        self._settings = settings
        self._caller: Caller | None = None
        self._opening: asyncio.Task[Caller] | None = None
        self._waiting = 0
        self._closed = False

    async def start(self, request: Request) -> Call:
        """Begin a call; see `keynet.rpc.api.Channel`. Opening the stream takes of its timeout."""
        if self._closed:
            raise _closed()
        if self._caller is not None and self._caller.usable:
            return await self._caller.start(request)
        began = asyncio.get_running_loop().time()
        caller = await self._opened()
        if request.timeout is not None:
            took = asyncio.get_running_loop().time() - began
            request = replace(request, timeout=max(0.0, request.timeout - took))
        return await caller.start(request)

    async def aclose(self) -> None:
        """End: calls that run fail with CANCELLED. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        caller, self._caller = self._caller, None
        if caller is not None:
            await caller.aclose()

    async def _opened(self) -> Caller:
        """The stream that the first of those who wait has asked for. Raises RpcError.

        When nobody waits any longer, it is not opened.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="jsonrpc dial")
            self._opening.add_done_callback(self._has_opened)
        opening = self._opening
        self._waiting += 1
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._closed and opening.cancelled():
                raise _closed() from None
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not opening.done():
                opening.cancel()
                self._opening = None

    async def _open(self) -> Caller:
        try:
            stream = await self._open_stream()
        except KeynetError as error:
            raise from_network(error) from error
        self._caller = Caller(stream, self._settings)
        return self._caller

    def _has_opened(self, task: asyncio.Task[Caller]) -> None:
        if self._opening is task:
            self._opening = None
        if not task.cancelled():
            task.exception()  # seen by those who wait, or wanted by nobody


def channel_over(stream: ByteStream, settings: Settings = DEFAULT) -> Channel:
    """A channel on a stream that is there already. When that ends, calls are UNAVAILABLE."""
    streams = [stream]

    async def given() -> ByteStream:
        if not streams:
            raise LocallyClosed("the stream that the channel was made over has ended")
        return streams.pop()

    return Channel(given, settings)


def _closed() -> RpcError:
    return rpc_error(Status.CANCELLED, "the channel is closed")
