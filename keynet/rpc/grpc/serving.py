"""Calls of service definitions as a grpc.aio server meets them: decoded, dispatched, answered.

Every call is handled as one that streams both ways, because on the wire all kinds are alike and
only the dispatch knows which methods there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from keynet.errors import RpcError
from keynet.rpc.api import Call, Dispatch, Send
from keynet.rpc.dispatch import FAILED
from keynet.rpc.grpc.codec import END_OF_ITEMS, Decode, decoder, encode
from keynet.rpc.grpc.gate import Context, Gate, abort
from keynet.rpc.grpc.metadata import incoming, kind_of, outgoing
from keynet.rpc.grpc.names import NAME
from keynet.rpc.grpc.steady import Steady
from keynet.rpc.status import Status, rpc_error

log = logging.getLogger(__name__)

CANCEL_GRACE = 1.0
"""Seconds between the sight of a broken call, as an end of messages, and grpcio's cancel."""


class Serving:
    """Handles the calls of one server."""

    def __init__(self, gate: Gate, dispatch: Dispatch) -> None:
        self._gate = gate
        self._dispatch = dispatch

    def handler(self, name: str) -> grpc.RpcMethodHandler:
        """grpcio's handler for a call of method `name` (`service.method`), whatever its kind."""

        async def handle(_: object, context: Context) -> None:
            await self._handle(name, context)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _handle(self, name: str, context: Context) -> None:
        headers = context.invocation_metadata()
        try:
            with self._dispatch.admit(
                name,
                self._gate.identify(context),
                binding=NAME,
                kind=kind_of(headers),
                timeout=context.time_remaining(),
                metadata=incoming(headers),
            ) as call:
                await self._answer(call, context)
        except RpcError as error:  # not admitted
            await abort(context, error)

    async def _answer(self, call: Call, context: Context) -> None:
        """Run the call and tell its caller how it ended. Its slot is held until that is sent."""
        try:
            await self._run(call, context)
        except RpcError as error:
            await abort(context, error, call.reply_metadata)
        except grpc.aio.BaseError:  # the call is over for grpcio: there is nobody to tell
            log.debug("%s: its caller was gone before its end", call.method.full_name)
        except Exception:
            log.exception("%s: a call failed in a way that it should not", call.method.full_name)
            await abort(context, rpc_error(Status.INTERNAL, FAILED), call.reply_metadata)
        else:
            context.set_trailing_metadata(outgoing(call.reply_metadata))

    async def _run(self, call: Call, context: Context) -> None:
        method, reader = call.method, _Reader(context)
        decode = decoder(method.params, "parameters", Status.INVALID_ARGUMENT)
        params = decode(await self._first(call, reader))
        requests = send = None
        if method.kind.client_streams:
            requests = _Items(reader, decoder(method.item, "item", Status.INVALID_ARGUMENT))
        if method.kind.server_streams:
            send = self._sender(call, context)
        result = await self._dispatch.run(call, params, requests, send)
        if send is None:
            await context.write(self._encoded(call, result, "the result"))

    async def _first(self, call: Call, reader: _Reader) -> bytes:
        """The parameters, for which the call's deadline holds as for all of it."""
        try:
            async with asyncio.timeout_at(call.deadline):
                return await reader.read()
        except TimeoutError as error:
            raise rpc_error(Status.DEADLINE_EXCEEDED, "no parameters came in time") from error

    def _sender(self, call: Call, context: Context) -> Send:
        writes: Steady[None] = Steady()

        async def send(item: Any) -> None:
            data = self._encoded(call, item, "an item")
            try:
                if not writes.idle:  # of one whose sending was cut short
                    await writes.outcome()
                writes.begin(context.write(data))
                await writes.outcome()
            except grpc.aio.BaseError as error:
                raise rpc_error(Status.CANCELLED, "the caller is gone") from error

        return send

    def _encoded(self, call: Call, value: Any, what: str) -> bytes:
        """One message to the caller, who does not learn why a value cannot be carried."""
        try:
            return encode(value, self._dispatch.max_message_size, what)
        except RpcError as error:
            if error.status == Status.RESOURCE_EXHAUSTED:
                raise
            log.error("%s: %s", call.method.full_name, error)
            raise rpc_error(Status.INTERNAL, FAILED) from error


class _Reader:
    """A call's messages, one at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reads: Steady[Any] = Steady()

    async def read(self) -> bytes:
        """The next message. Cancellable without losing it.

        Raises RpcError (CANCELLED) when there is none: callers of service definitions say when
        they have sent their last one, and grpcio ends a broken call as a whole one, a moment
        before it cancels this task.
        """
        if self._reads.idle:
            self._reads.begin(self._context.read())
        message = await self._reads.outcome()
        if message is grpc.aio.EOF:
            await asyncio.sleep(CANCEL_GRACE)
            raise rpc_error(Status.CANCELLED, "the call ended before its last message")
        data: bytes = message
        return data


class _Items(AsyncIterator[Any]):
    """What the client streams after the parameters."""

    def __init__(self, reader: _Reader, decode: Decode) -> None:
        self._reader = reader
        self._decode = decode
        self._ended = False

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        data = await self._reader.read()
        if data == END_OF_ITEMS:
            self._ended = True
            raise StopAsyncIteration
        return self._decode(data)
