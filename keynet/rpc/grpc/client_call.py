"""One call under way at the calling end: `api.ClientCall` over one of grpcio's call objects.

Here grpcio's habits are undone that a caller would trip over: that cancelling who waits cancels
the call, and that an item sent while the call ends hides how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from keynet.errors import RpcError
from keynet.rpc.api import Metadata, Request
from keynet.rpc.grpc.codec import END_OF_ITEMS, decoder, encode
from keynet.rpc.grpc.metadata import KIND, incoming, outgoing
from keynet.rpc.grpc.steady import Steady
from keynet.rpc.method import Kind, Method
from keynet.rpc.status import Status, rpc_error

Fault = Callable[[grpc.aio.AioRpcError], RpcError]

_MAKERS = {
    Kind.UNARY: "unary_unary",
    Kind.SERVER_STREAM: "unary_stream",
    Kind.CLIENT_STREAM: "stream_unary",
    Kind.DUPLEX: "stream_stream",
}

_OVER = (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What grpcio raises of a write when the call has ended, in its several ways."""


class GrpcCall:
    """A call that was made of `make_call`; `begin` it next."""

    def __init__(self, call: Any, method: Method[..., Any], limit: int, fault: Fault) -> None:
        """`limit` holds for each item in bytes; `fault` says what a failure means."""
        self._call = call
        self._method = method
        self._limit = limit
        self._fault = fault
        self._decode = decoder(method.result, "the answer", Status.INTERNAL)
        self._reads: Steady[Any] = Steady()
        self._writes: Steady[None] = Steady()
        self._finished_sending = not method.kind.client_streams
        self._cancelled = False
        self._trailers: Metadata = ()

    @property
    def reply_metadata(self) -> Metadata:
        """What came with the end of the call; empty before."""
        return self._trailers

    async def begin(self, params: bytes) -> None:
        """Wait until a client that streams may do so, and send `params` first. Raises RpcError."""
        if not self._method.kind.client_streams:
            return
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise await self._failed(error) from error
        except asyncio.CancelledError:
            self._check_not_cancelled()
            raise
        await self._write(params)

    async def send(self, item: Any) -> None:
        """Stream one item; see `api.ClientCall`."""
        await self._write(encode(item, self._limit, "an item"))

    async def finish_sending(self) -> None:
        """No more items. Idempotent."""
        if self._finished_sending:
            return
        self._finished_sending = True
        await self._write(END_OF_ITEMS)
        try:
            await self._call.done_writing()
        except _OVER:
            return

    async def receive(self) -> Any:
        """The server's next item; see `api.ClientCall`."""
        if self._reads.idle:
            self._reads.begin(self._call.read())
        try:
            message = await self._reads.outcome()
        except grpc.aio.AioRpcError as error:
            raise await self._failed(error) from error
        if message is grpc.aio.EOF:
            await self._take_trailers()
            raise StopAsyncIteration
        return self._decoded(message)

    async def result(self) -> Any:
        """The decoded result; see `api.ClientCall`. Cancelling it cancels the call."""
        try:
            message = await self._call
        except grpc.aio.AioRpcError as error:
            raise await self._failed(error) from error
        except asyncio.CancelledError:
            self._check_not_cancelled()
            raise
        await self._take_trailers()
        return self._decoded(message)

    def cancel(self) -> None:
        """Tell the peer to stop, and end with CANCELLED. Idempotent; harmless after the end."""
        if not self._call.done():
            self._cancelled = True
            self._call.cancel()

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the call has ended, however."""
        self._call.add_done_callback(lambda _: callback())

    async def _write(self, data: bytes) -> None:
        """Send one message whole; in silence when the call is over."""
        try:
            if not self._writes.idle:  # of one whose sending was cut short
                await self._writes.outcome()
            if self._call.done():
                await asyncio.sleep(0)  # who sends on regardless must let others run
            else:
                self._writes.begin(_sent(self._call, data))
                await self._writes.outcome()
        except (*_OVER, RpcError):
            return

    def _check_not_cancelled(self) -> None:
        """Tell apart why grpcio raised CancelledError: raise RpcError for the call's own end."""
        task = asyncio.current_task()
        if self._cancelled and (task is None or not task.cancelling()):
            raise rpc_error(Status.CANCELLED, "the call was cancelled") from None

    def _decoded(self, message: bytes) -> Any:
        try:
            return self._decode(message)
        except RpcError:
            self.cancel()
            raise

    async def _failed(self, error: grpc.aio.AioRpcError) -> RpcError:
        await self._take_trailers()
        return self._fault(error)

    async def _take_trailers(self) -> None:
        self._trailers = incoming(await self._call.trailing_metadata())


def make_call(channel: grpc.aio.Channel, request: Request, params: bytes) -> Any:
    """grpcio's call for `request`, not yet on its way. Raises ValueError for what it cannot send.

    The parameters go with it when the client streams nothing; else they are its first message.
    """
    kind = request.method.kind
    make = getattr(channel, _MAKERS[kind])(f"/{request.method.service}/{request.method.name}")
    headers = ((KIND, kind.value), *outgoing(request.metadata))
    options = {"timeout": request.timeout, "metadata": headers}
    return make(**options) if kind.client_streams else make(params, **options)


async def _sent(call: Any, data: bytes) -> None:
    """One message, past grpcio's public `write`: that replaces the status with which the server
    ends the call by an INTERNAL of its own when it comes meanwhile (grpc/grpc issue 36066)."""
    await call._cython_call.send_serialized_message(data)
