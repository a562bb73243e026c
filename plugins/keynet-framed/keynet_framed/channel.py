"""The calling side: a stream for each call, opened when the call begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from keynet.address import NodeId
from keynet.errors import ClosedError, KeynetError, RpcError
from keynet.rpc.api import Metadata, Network, Request
from keynet.rpc.status import Status, from_network, rpc_error
from keynet_framed.frames import Done, Frames, Item, Open, pack, unpack


class Channel:
    """A way to one peer. Keeps what it must cancel when it is closed, and nothing else."""

    def __init__(self, name: str, network: Network, node_id: NodeId, limit: int) -> None:
        self._name = name
        self._network = network
        self._node_id = node_id
        self._limit = limit
        self._calls: set[ClientCall] = set()
        self._closed = False

    async def start(self, request: Request) -> ClientCall:
        if self._closed:
            raise rpc_error(Status.CANCELLED, "this channel is closed")
        params = pack(request.params, self._limit)
        method = request.method
        begin = Open(method.full_name, params, method.kind, request.timeout, request.metadata)
        try:
            stream = await self._network.open_stream(self._node_id, self._name)
            call = ClientCall(request, Frames(stream, self._limit), self._calls.discard)
            self._calls.add(call)
            try:
                await call.begin(begin)
            except BaseException:
                call.cancel()
                raise
        except KeynetError as error:
            raise from_network(error) from error
        return call

    async def aclose(self) -> None:
        self._closed = True
        for call in list(self._calls):
            call.cancel()


class ClientCall:
    """One call under way."""

    def __init__(
        self, request: Request, frames: Frames, forget: Callable[[ClientCall], None]
    ) -> None:
        self._method = request.method
        self._frames = frames
        self._forget = forget
        self._sending = True
        self._ended: RpcError | Done | None = None

    async def begin(self, message: Open) -> None:
        with contextlib.suppress(ClosedError):  # `receive` and `result` tell of it
            await self._frames.write(message)
        if not self._method.kind.client_streams:
            await self.finish_sending()

    @property
    def reply_metadata(self) -> Metadata:
        return self._ended.metadata if isinstance(self._ended, Done) else ()

    async def send(self, item: Any) -> None:
        if self._ended is not None:
            await asyncio.sleep(0)  # who sends on regardless must let others run
        else:
            message = Item(pack(item, self._frames.limit))
            with contextlib.suppress(ClosedError):
                await self._frames.write(message)

    async def finish_sending(self) -> None:
        if self._sending and self._ended is None:
            self._sending = False
            with contextlib.suppress(ClosedError):
                self._frames.stream.write_eof()

    async def receive(self) -> Any:
        message = await self._next()
        if isinstance(message, Done):
            raise StopAsyncIteration
        return self._decoded(message.value)

    async def result(self) -> Any:
        while not isinstance(message := await self._next(), Done):
            pass
        return self._decoded(message.result)

    def cancel(self) -> None:
        self._end(rpc_error(Status.CANCELLED, "this side cancelled the call"))

    async def _next(self) -> Item | Done:
        """The next message. Raises RpcError when the call has failed."""
        if self._ended is None:
            try:
                message = await self._frames.read()
            except KeynetError as error:
                self._end(from_network(error))
            else:
                if isinstance(message, Item):
                    return message
                broken = rpc_error(Status.INTERNAL, "the peer ended the call without a status")
                self._end(message if isinstance(message, Done) else broken)
        if isinstance(self._ended, Done) and self._ended.status == Status.OK:
            return self._ended
        raise self._failure()

    def _failure(self) -> RpcError:
        if isinstance(self._ended, Done):
            return rpc_error(self._ended.status, self._ended.message, self._ended.details)
        assert self._ended is not None
        return self._ended

    def _decoded(self, raw: Any) -> Any:
        return unpack(raw, self._method.result, self._frames.limit, Status.INTERNAL)

    def _end(self, how: RpcError | Done) -> None:
        """Only the first end counts. What is still under way on the stream is dropped."""
        if self._ended is None:
            self._ended = how
            self._frames.stream.reset()
            self._forget(self)
