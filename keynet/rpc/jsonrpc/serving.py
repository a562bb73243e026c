"""The serving shell of one stream: reads it, starts and stops its calls, and ends it cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

from keynet.errors import KeynetError
from keynet.rpc.api import ByteStream, Dispatch
from keynet.rpc.jsonrpc.inbound import Inbound
from keynet.rpc.jsonrpc.outbound import Outbound
from keynet.rpc.jsonrpc.running import Running
from keynet.rpc.jsonrpc.session.events import (
    CallArrived,
    CallEnded,
    CreditArrived,
    ItemArrived,
    ItemsEnded,
    ServerEvent,
)
from keynet.rpc.jsonrpc.session.server import ServedCall, ServerSession
from keynet.rpc.jsonrpc.session.settings import Settings
from keynet.rpc.jsonrpc.waiting import first_of
from keynet.rpc.status import Status, rpc_error

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 2.0
"""Seconds that the last answers have to leave, when this side ends the stream."""


class ServedStream:
    """One peer's stream of calls, from its first byte to its end."""

    def __init__(
        self, stream: ByteStream, first: bytes, dispatch: Dispatch, settings: Settings
    ) -> None:
        """Make it in the running event loop. `first` are bytes that were read already."""
        self._stream = stream
        self._dispatch = dispatch
        self._session = ServerSession(settings)
        self._inbound = Inbound(stream, first)
        self._outbound = Outbound(stream, self._session.output)
        self._peer = stream.connection.peer
        self._running: dict[ServedCall, tuple[Running, asyncio.Task[None]]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def serve(self) -> None:
        """Serve until the peer ends the stream and its calls are answered, or it breaks."""
        try:
            await self._read()
            await self._answer_the_rest()
        except KeynetError as error:
            log.debug("a stream of %s broke: %s", self._peer.node_id.short, error)
        finally:
            self._session.close()
            for _, task in self._running.values():
                task.cancel()

    def refuse_calls(self) -> None:
        """Take no call that is not under way yet."""
        self._session.closing = True

    async def end(self) -> None:
        """Say what is left to say, and drop the stream. For a server that closes. Idempotent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._outbound.drain()
        await self._stream.aclose()
        self._stream.reset()

    async def _read(self) -> None:
        """Read to the peer's end, or to what makes going on senseless."""
        while data := await self._inbound.read():
            for event in self._session.receive(data):
                self._handle(event)
            self._outbound.flush_soon()
            if self._session.broken:
                return
            if self._outbound.congested:
                await self._outbound.room()  # who does not read is not read

    def _handle(self, event: ServerEvent) -> None:
        match event:
            case CallArrived():
                self._begin(event)
            case ItemArrived():
                self._running[event.call][0].item_arrived(event)
            case CreditArrived():
                self._running[event.call][0].credit_arrived()
            case ItemsEnded():
                self._running[event.call][0].items_ended()
            case CallEnded():
                self._running[event.call][1].cancel()

    def _begin(self, event: CallArrived) -> None:
        running = Running(event, self._session, self._outbound, self._dispatch)
        task = asyncio.create_task(running.run(self._peer), name=f"jsonrpc {event.method[:80]}")
        self._running[event.call] = (running, task)
        self._idle.clear()
        task.add_done_callback(partial(self._ended, event.call))

    def _ended(self, call: ServedCall, task: asyncio.Task[None]) -> None:
        del self._running[call]
        if not self._running:
            self._idle.set()
        if call.over:
            return
        if task.cancelled():
            error = rpc_error(Status.CANCELLED, "the call was cancelled at the server")
        else:
            log.error("a call broke off: this is a bug of keynet's", exc_info=task.exception())
            error = rpc_error(Status.INTERNAL, "the call broke off; the server's log says why")
        self._session.fail(call, error)
        self._outbound.flush_soon()

    async def _answer_the_rest(self) -> None:
        """The peer said its last: let its calls end, unless it goes away altogether."""
        if self._session.broken:
            await self.end()
            return
        gone = rpc_error(Status.CANCELLED, "the caller ended the stream before its items")
        for running, _ in self._running.values():
            running.items_ended(gone)
        await first_of(self._idle.wait(), self._stream.wait_closed())
        await self._outbound.drain()
        self._stream.write_eof()
        await self._stream.wait_closed()
