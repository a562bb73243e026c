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

from keynet.errors import ClosedByPeer, ClosedError, KeynetError
from keynet.rpc.proxy.api import ByteStream
from keynet.rpc.proxy.tcp import TcpEnd

CHUNK = 262144
"""Bytes asked of the stream at a time."""

UNDRAINED = 262144
"""Bytes written to a stream before it is asked whether it has drained."""


@dataclass(slots=True)
class Traffic:
    """Bytes that one pipe has carried."""

    to_peer: int = 0
    from_peer: int = 0


class _Upward:
    """The sink that writes to the stream what the local connection receives."""

    __slots__ = ("_drainer", "_end", "_stream", "_traffic", "_undrained", "finished", "flowing")

    def __init__(self, end: TcpEnd, stream: ByteStream, traffic: Traffic) -> None:
        self._end = end
        self._stream = stream
        self._traffic = traffic
        self._undrained = 0
        self._drainer: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self.flowing: asyncio.Future[None] = loop.create_future()
        """Done when the first bytes have passed, or none will."""
        self.finished: asyncio.Future[None] = loop.create_future()
        """Done when the local side has sent its last byte, or is gone."""

    def data(self, view: memoryview) -> None:
        try:
            self._stream.write(view)
        except ClosedError:
            self._end.abort()
            return
        size = len(view)
        self._traffic.to_peer += size
        self._undrained += size
        if self._undrained >= UNDRAINED:
            self._check_drained()
        _done(self.flowing)

    def eof(self) -> None:
        try:
            self._stream.write_eof()
        except ClosedError:
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

    def _check_drained(self) -> None:
        """Ask the stream to drain; if it has not by the time more arrives, stop reading.

        The task runs before the loop looks at sockets again, so that a stream that keeps up costs
        no pause, and one that does not holds at most this much more than its high-water mark.
        """
        if self._drainer is None:
            self._drainer = asyncio.ensure_future(self._drain())
        else:
            self._end.pause()

    async def _drain(self) -> None:
        try:
            await self._stream.drain()
        except ClosedError:
            self._end.abort()
        finally:
            self._drainer = None
            self._undrained = 0
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
        await stream.aclose()
    except KeynetError as error:
        _break_off(end, stream)
        return end.error or error
    except BaseException:
        _break_off(end, stream)
        raise
    finally:
        upward.stop()
    return None


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
                raise ClosedByPeer("the stream broke off")
    finally:
        closed.cancel()


def _break_off(end: TcpEnd, stream: ByteStream) -> None:
    end.detach()
    stream.reset()
    end.abort()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
