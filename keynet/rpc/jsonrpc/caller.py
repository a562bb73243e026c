"""The calling shell of one stream: many calls on it at once, from its first byte to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from keynet.errors import KeynetError, RpcError
from keynet.rpc.api import ByteStream, Request
from keynet.rpc.jsonrpc.call import Call
from keynet.rpc.jsonrpc.inbound import Inbound
from keynet.rpc.jsonrpc.outbound import Outbound
from keynet.rpc.jsonrpc.session.client import ClientSession, MadeCall
from keynet.rpc.jsonrpc.session.events import (
    CallAnswered,
    ClientEvent,
    CreditArrived,
    ItemArrived,
    SessionBroken,
)
from keynet.rpc.jsonrpc.session.settings import Settings
from keynet.rpc.jsonrpc.waiting import first_of
from keynet.rpc.status import Status, from_network, rpc_error

log = logging.getLogger(__name__)


class Caller:
    """Calls to one peer over one stream."""

    def __init__(self, stream: ByteStream, settings: Settings) -> None:
        """Make it in the running event loop; it reads `stream` from then on."""
        self._stream = stream
        self._session = ClientSession(settings)
        self._inbound = Inbound(stream)
        self._outbound = Outbound(stream, self._session.output)
        self._calls: dict[MadeCall, Call] = {}
        self._ending: RpcError | None = None
        self._reader = asyncio.create_task(self._read(), name="jsonrpc reader")

    @property
    def usable(self) -> bool:
        """Whether a call may still begin on it."""
        return self._ending is None and self._stream.error is None

    async def start(self, request: Request) -> Call:
        """Begin a call. Raises RpcError. Cancellable."""
        if self._outbound.congested:
            await self._outbound.room()
        if self._ending is not None:
            raise _again(self._ending)
        method = request.method
        made = self._session.call(
            method.full_name, request.params, method.kind, request.timeout, request.metadata
        )
        call = self._calls[made] = Call(self, made, method)
        self._outbound.flush_soon()
        return call

    async def aclose(self) -> None:
        """End the stream; calls that run fail with CANCELLED. Idempotent."""
        for call in self._calls:
            self._session.cancel(call)
        self._outbound.flush()
        self._end(rpc_error(Status.CANCELLED, "the channel was closed on this side"))
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._stream.aclose()
        self._stream.reset()

    # What calls ask for.

    async def item(self, call: MadeCall, item: Any, over: asyncio.Event) -> None:
        """Once there is room for it, or the call is over."""
        if self._outbound.congested:
            await first_of(self._outbound.room(), over.wait())
        if call.over:
            await asyncio.sleep(0)  # who sends on regardless must let others run
        self._session.item(call, item)
        self._outbound.flush_soon()

    def end_items(self, call: MadeCall) -> None:
        self._session.end_items(call)
        self._outbound.flush_soon()

    def taken(self, call: MadeCall, size: int) -> None:
        self._session.taken(call, size)
        self._outbound.flush_soon()

    def cancel(self, call: MadeCall) -> None:
        self._session.cancel(call)
        self._calls.pop(call, None)
        self._outbound.flush_soon()

    # What the server says.

    async def _read(self) -> None:
        error = rpc_error(Status.INTERNAL, "reading the peer's answers failed")
        try:
            error = await self._read_to_end()
        except KeynetError as broken:
            error = from_network(broken)
        finally:
            self._end(error)
        self._stream.reset()

    async def _read_to_end(self) -> RpcError:
        while data := await self._inbound.read():
            for event in self._session.receive(data):
                if isinstance(event, SessionBroken):
                    return event.error
                self._handle(event)
            self._outbound.flush_soon()
        return rpc_error(Status.UNAVAILABLE, "the peer ended the stream")

    def _handle(self, event: ClientEvent) -> None:
        """Calls that this side has cancelled are known to nobody any more."""
        match event:
            case CallAnswered():
                if (call := self._calls.pop(event.call, None)) is not None:
                    call.ended(event.outcome)
            case ItemArrived():
                if (call := self._calls.get(event.call)) is not None:
                    call.item_arrived(event.item, event.size)
            case CreditArrived():
                if (call := self._calls.get(event.call)) is not None:
                    call.credit_arrived()

    def _end(self, error: RpcError) -> None:
        """No call goes on; each learns why. Only the first end counts."""
        if self._ending is None:
            self._ending = error
            self._session.close()
            calls, self._calls = self._calls, {}
            for call in calls.values():
                call.ended(_again(error))


def _again(error: RpcError) -> RpcError:
    """The one error of the stream, for one more caller."""
    return rpc_error(Status(error.status), error.message, error.details)
