"""One call that is served: decoded, dispatched, streamed and answered, in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from keynet.errors import RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.api import Call, Dispatch, Metadata
from keynet.rpc.jsonrpc.codec import decode_item, decode_params
from keynet.rpc.jsonrpc.outbound import Outbound
from keynet.rpc.jsonrpc.session.events import CallArrived, ItemArrived
from keynet.rpc.jsonrpc.session.server import ServedCall, ServerSession
from keynet.rpc.jsonrpc.waiting import Gate, Inbox
from keynet.rpc.method import MAX_NAME, Kind, Method
from keynet.rpc.status import Status, rpc_error

NAME = "jsonrpc"
"""The binding's name, as peers ask for it and dispatch is told it."""

log = logging.getLogger(__name__)


class Running:
    """Runs what `arrived` asks for. The session's events about the call come in here."""

    __slots__ = ("_arrived", "_call", "_dispatch", "_gate", "_inbox", "_outbound", "_session")

    def __init__(
        self,
        arrived: CallArrived,
        session: ServerSession,
        outbound: Outbound,
        dispatch: Dispatch,
    ) -> None:
        self._arrived = arrived
        self._call = arrived.call
        self._session = session
        self._outbound = outbound
        self._dispatch = dispatch
        self._gate: Gate | None = None
        self._inbox: Inbox | None = None

    # What the session tells.

    def item_arrived(self, event: ItemArrived[ServedCall]) -> None:
        self._items().put(event.item, event.size)

    def items_ended(self, error: RpcError | None = None) -> None:
        if self._call.takes_items:
            self._items().end(error)

    def credit_arrived(self) -> None:
        if self._gate is not None:
            self._gate.credit_came()

    # The task.

    async def run(self, peer: PeerIdentity) -> None:
        """From admission to the answer. Cancel it when the call is over already."""
        arrived = self._arrived
        try:
            with self._dispatch.admit(
                arrived.method,
                peer,
                binding=NAME,
                kind=arrived.kind,
                timeout=arrived.timeout,
                metadata=arrived.metadata,
            ) as call:
                try:
                    await self._answer(call)
                except RpcError as error:
                    self._fail(error, tuple(call.reply_metadata))
        except RpcError as error:
            self._fail(error)

    async def _answer(self, call: Call) -> None:
        method = call.method
        self._check_streams(method)
        params = decode_params(method, self._arrived.params)
        requests = _Requests(method, self._items()) if method.kind.client_streams else None
        send = self._send if method.kind.server_streams else None
        result = await self._dispatch.run(call, params, requests, send)
        if self._outbound.congested:
            await self._room(call.deadline)
        try:
            self._session.reply(self._call, result, tuple(call.reply_metadata))
        except RpcError as error:
            raise self._unsendable(error) from error
        self._outbound.flush_soon()

    def _check_streams(self, method: Method[..., Any]) -> None:
        """Streams need an id and `rpc.call`, and a method that takes them."""
        call = self._call
        if method.kind is not Kind.UNARY and not call.may_stream:
            text = f"{method.full_name} streams: call it by rpc.call, with an id"
            raise rpc_error(Status.INVALID_ARGUMENT, text)
        if not method.kind.client_streams:
            call.takes_items = False
            if self._inbox is not None and len(self._inbox):
                text = f"{method.full_name} takes no stream of items"
                raise rpc_error(Status.INVALID_ARGUMENT, text)

    async def _send(self, item: Any) -> None:
        """Stream one item to the caller, once there is room for it."""
        if self._gate is None:
            self._gate = Gate(self._call.credit)
        await self._gate.passed()
        if self._outbound.congested:
            await self._outbound.room()
        if self._call.over:
            raise rpc_error(Status.CANCELLED, "the call is over")
        try:
            self._session.item(self._call, item)
        except RpcError as error:
            raise self._unsendable(error) from error
        self._outbound.flush_soon()

    def _unsendable(self, error: RpcError) -> RpcError:
        """What the caller is told of a result or item that is too large, or is no JSON."""
        if error.status != Status.INTERNAL:
            return error
        log.error("%s: %s", self._arrived.method[:MAX_NAME], error)
        text = "the method's result cannot be encoded; the server's log says why"
        return rpc_error(Status.INTERNAL, text)

    async def _room(self, deadline: float | None) -> None:
        """Wait for a peer that does not read, at most until the call's deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._outbound.room()
        except TimeoutError:
            text = "the answer was ready, but the caller took nothing before the deadline"
            raise rpc_error(Status.DEADLINE_EXCEEDED, text) from None

    def _fail(self, error: RpcError, metadata: Metadata = ()) -> None:
        self._session.fail(self._call, error, metadata)
        self._outbound.flush_soon()

    def _items(self) -> Inbox:
        if self._inbox is None:
            self._inbox = Inbox(self._taken)
        return self._inbox

    def _taken(self, size: int) -> None:
        self._session.taken(self._call, size)
        self._outbound.flush_soon()


class _Requests:
    """The client's items, decoded as they are asked for."""

    __slots__ = ("_inbox", "_method")

    def __init__(self, method: Method[..., Any], inbox: Inbox) -> None:
        self._method = method
        self._inbox = inbox

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        return decode_item(self._method, await self._inbox.get())
