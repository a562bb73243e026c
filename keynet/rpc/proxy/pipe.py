"""Bytes between a local connection and a peer's stream, both ways, until both have ended.

An end on one side becomes an end on the other, and the way back stays open; a break on one side
becomes a break on the other at once. Nothing here knows of heads, targets or peers.

From TCP to the stream, bytes go from the shared receive buffer straight into `stream.write`, in
the call that received them. From the stream to TCP, the one task of the connection reads and
writes. An idle pipe is that task, waiting.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from keynet.errors import ClosedByPeer, KeynetError
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.tcp import TcpEnd

CHUNK = 262144
"""Bytes asked of the stream at a time."""

HIGH_WATER = 262144
"""Bytes that may wait for room in a stream before the local connection is not read any more."""


@dataclass(slots=True)
class Traffic:
    """Bytes that one pipe has carried."""

    to_peer: int = 0
    from_peer: int = 0


class _Upward:
    """The sink that writes to the stream what the local connection receives."""

    __slots__ = ("_drainer", "_end", "_stream", "_traffic", "finished", "flowing")

    def __init__(self, end: TcpEnd, stream: ByteStream, traffic: Traffic) -> None:
        self._end = end
        self._stream = stream
        self._traffic = traffic
        self._drainer: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self.flowing: asyncio.Future[None] = loop.create_future()
        """Done when the first bytes have passed, or none will."""
        self.finished: asyncio.Future[None] = loop.create_future()
        """Done when the local side has sent its last byte, or is gone."""

    def data(self, view: memoryview) -> None:
        try:
            self._stream.write(view)
        except KeynetError:
            self._end.abort()
            return
        self._traffic.to_peer += len(view)
        if self._stream.buffered >= HIGH_WATER and self._drainer is None:
            self._end.pause()
            self._drainer = asyncio.ensure_future(self._drain())
        _done(self.flowing)

    def eof(self) -> None:
        try:
            self._stream.write_eof()
        except KeynetError:
            self._end.abort()
        _done(self.finished)
        _done(self.flowing)

    def lost(self) -> None:
        self._stream.reset()
        _done(self.finished)
        _done(self.flowing)

    def stop(self) -> None:
        if self._drainer is not None:
            self._drainer.cancel()

    async def _drain(self) -> None:
        try:
            await self._stream.drain()
        except KeynetError:
            self._end.abort()
        finally:
            self._drainer = None
        self._end.resume()


async def pipe(
    end: TcpEnd,
    stream: ByteStream,
    traffic: Traffic,
    *,
    to_peer: bytes = b"",
    from_peer: bytes = b"",
    hold: float = 0.0,
) -> KeynetError | None:
    """Carry bytes both ways until both sides have ended; close both. Cancelling breaks both off.

    `to_peer` and `from_peer` are bytes already there. Bytes from the peer are held back until
    the first ones towards it have passed, or for `hold` seconds. Returns what broke it off, or
    None when both sides ended cleanly.
    """
    upward = _Upward(end, stream, traffic)
    try:
        if to_peer:
            upward.data(memoryview(to_peer))
        end.attach(upward)
        if hold and not upward.flowing.done():
            await asyncio.wait((upward.flowing,), timeout=hold)
        await _carry_down(end, stream, traffic, from_peer)
        await _last_bytes_up(upward.finished, stream)
        if end.closed:
            raise ClosedByPeer("the local connection broke off")
        end.detach()
        end.close()
        await end.wait_closed()
        await stream.wait_closed()  # however long the last bytes take
    except KeynetError as error:
        _break_off(end, stream)
        return end.error or error
    except BaseException:
        _break_off(end, stream)
        raise
    finally:
        upward.stop()
    return stream.error


async def _carry_down(end: TcpEnd, stream: ByteStream, traffic: Traffic, early: bytes) -> None:
    if early:
        traffic.from_peer += len(early)
        end.write(early)
    while data := await stream.read(CHUNK):
        traffic.from_peer += len(data)
        end.write(data)
        if end.congested:
            await end.drain()
    end.write_eof()


async def _last_bytes_up(finished: asyncio.Future[None], stream: ByteStream) -> None:
    """Wait for the local side's end, and notice when the stream breaks before that."""
    if finished.done():
        return
    closed = asyncio.ensure_future(stream.wait_closed())
    try:
        await asyncio.wait((finished, closed), return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            closed.result()
        if not finished.done():
            raise stream.error or ClosedByPeer("the stream broke off")
    finally:
        closed.cancel()


def _break_off(end: TcpEnd, stream: ByteStream) -> None:
    end.detach()
    stream.reset()
    end.abort()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
