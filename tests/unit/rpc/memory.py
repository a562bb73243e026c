"""A channel that leads straight to a dispatcher in the same event loop: a binding without a wire.

Values are encoded and decoded on the way, so that types count. One item each way is in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from keynet.errors import RpcError
from keynet.identity import Identity, PeerIdentity, verify_chain
from keynet.rpc.api import Call, Metadata, Request
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.status import Status, rpc_error

_END = object()


def new_peer() -> PeerIdentity:
    """A peer with an id of its own."""
    return verify_chain(Identity.generate().chain, None)


class MemoryChannel:
    """A way to `dispatcher`, on which `peer` calls."""

    def __init__(self, dispatcher: Dispatcher, peer: PeerIdentity) -> None:
        self.dispatcher = dispatcher
        self.peer = peer
        self.calls: list[MemoryCall] = []
        self.refusal: RpcError | None = None
        """Raised by `start`, when it is set."""
        self.delay = 0.0
        """Seconds that connecting takes."""

    async def start(self, request: Request) -> MemoryCall:
        await asyncio.sleep(self.delay)
        if self.refusal is not None:
            raise self.refusal
        call = MemoryCall(self, request)
        self.calls.append(call)
        return call

    async def aclose(self) -> None:
        for call in self.calls:
            call.cancel()


class MemoryCall:
    """One call, from both its ends."""

    def __init__(self, channel: MemoryChannel, request: Request) -> None:
        self.request = request
        self.finished_sending = False
        self._dispatcher = channel.dispatcher
        self._peer = channel.peer
        self._up: asyncio.Queue[Any] = asyncio.Queue(1)
        self._down: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._ended = asyncio.get_running_loop().create_future()
        self._reply_metadata: Metadata = ()
        self.task = asyncio.create_task(self._serve(), name="memory call")

    @property
    def reply_metadata(self) -> Metadata:
        return self._reply_metadata

    @property
    def over(self) -> bool:
        return self._ended.done()

    async def send(self, item: Any) -> None:
        await self._unless_ended(self._up.put(msgspec.msgpack.encode(item)))

    async def finish_sending(self) -> None:
        if not self.finished_sending:
            self.finished_sending = True
            await self._unless_ended(self._up.put(_END))

    async def receive(self) -> Any:
        data = await self._unless_ended(self._down.get())
        if data is None:
            if not self._down.empty():
                return msgspec.msgpack.decode(self._down.get_nowait())
            self._result()
            raise StopAsyncIteration
        return msgspec.msgpack.decode(data)

    async def result(self) -> Any:
        await asyncio.wait([self._ended])
        return msgspec.msgpack.decode(self._result())

    def cancel(self) -> None:
        if not self._ended.done():
            self._ended.set_result(rpc_error(Status.CANCELLED, "the caller cancelled"))
            self.task.cancel()

    def _result(self) -> Any:
        outcome = self._ended.result()
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    async def _unless_ended(self, step: Any) -> Any:
        """What `step` gives, or None when the call ends first."""
        task = asyncio.ensure_future(step)
        try:
            await asyncio.wait([task, self._ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        return task.result() if task.done() and not task.cancelled() else None

    async def _serve(self) -> None:
        outcome: Any
        try:
            outcome = msgspec.msgpack.encode(await self._run())
        except RpcError as error:
            outcome = error
        if not self._ended.done():
            self._ended.set_result(outcome)

    async def _run(self) -> Any:
        request, method = self.request, self.request.method
        with self._dispatcher.admit(
            method.full_name,
            self._peer,
            binding="memory",
            timeout=request.timeout,
            metadata=request.metadata,
        ) as call:
            try:
                return await self._dispatched(call)
            finally:
                self._reply_metadata = tuple(call.reply_metadata)

    async def _dispatched(self, call: Call) -> Any:
        kind = call.method.kind
        return await self._dispatcher.run(
            call,
            _carried(self.request.params, call.method.params),
            self._requests(call.method.item) if kind.client_streams else None,
            self._send if kind.server_streams else None,
        )

    async def _requests(self, item: Any) -> AsyncIterator[Any]:
        while (data := await self._up.get()) is not _END:
            yield _decoded(data, item)

    async def _send(self, item: Any) -> None:
        await self._down.put(msgspec.msgpack.encode(item))


def _carried(value: Any, into: Any) -> Any:
    return _decoded(msgspec.msgpack.encode(value), into)


def _decoded(data: bytes, into: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=into)
    except msgspec.ValidationError as error:
        raise rpc_error(Status.INVALID_ARGUMENT, str(error)) from error
