"""The serving side: one stream is one call. What is the same in all bindings is in `Dispatch`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from keynet.errors import RemoteProtocolError, RpcError
from keynet.rpc.api import ByteStream, Call, Dispatch, Network
from keynet.rpc.status import Status, rpc_error
from keynet_framed.frames import Done, Frames, Item, Open, pack, unpack

FAREWELL = 1.0
"""Seconds that peers have to take the last words of a server that closes."""


class Server:
    """Serves every stream that peers open to the protocol, until it is closed."""

    def __init__(self, name: str, network: Network, dispatch: Dispatch) -> None:
        self._name = name
        self._network = network
        self._dispatch = dispatch
        self._streams: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self._network.serve_protocol(self._name, self._serve)

    async def aclose(self, grace: float = 5.0) -> None:
        await self._dispatch.drain(self._name, grace)
        self._network.serve_protocol(self._name, None)
        if self._streams:
            await asyncio.wait(self._streams, timeout=FAREWELL)

    async def _serve(self, stream: ByteStream, begun: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            frames = Frames(stream, self._dispatch.max_message_size, begun)
            await frames.write(await self._answer(frames))
            await stream.aclose()
        finally:
            self._streams.discard(task)

    async def _answer(self, frames: Frames) -> Done:
        peer = frames.stream.connection.peer
        try:
            opened = await frames.read()
            if not isinstance(opened, Open):
                raise RemoteProtocolError("a call's stream does not begin with Open")
            with self._dispatch.admit(
                opened.method,
                peer,
                binding=self._name,
                kind=opened.kind,
                timeout=opened.timeout,
                metadata=opened.metadata,
            ) as call:
                return await self._run(call, opened, frames)
        except RpcError as error:
            return _ended(error)

    async def _run(self, call: Call, opened: Open, frames: Frames) -> Done:
        method, limit = call.method, frames.limit

        async def requests() -> AsyncIterator[Any]:
            while isinstance(message := await frames.read(), Item):
                yield unpack(message.value, method.item, limit, Status.INVALID_ARGUMENT)

        async def send(item: Any) -> None:
            await frames.write(Item(pack(item, limit)))

        try:
            params = unpack(opened.params, method.params, limit, Status.INVALID_ARGUMENT)
            running = self._dispatch.run(
                call,
                params,
                requests() if method.kind.client_streams else None,
                send if method.kind.server_streams else None,
            )
            result = pack(await self._watched(running, frames.stream), limit)
        except RpcError as error:
            return _ended(error, call)
        return Done(Status.OK, metadata=tuple(call.reply_metadata), result=result)

    async def _watched(self, work: Coroutine[Any, Any, Any], stream: ByteStream) -> Any:
        """Cancel `work` when its caller has gone."""
        running = asyncio.create_task(work)
        gone = asyncio.create_task(stream.wait_closed())
        try:
            await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise rpc_error(Status.CANCELLED, "the caller is gone")
            return await running
        finally:
            for task in (running, gone):
                task.cancel()
            await asyncio.gather(running, gone, return_exceptions=True)


def _ended(error: RpcError, call: Call | None = None) -> Done:
    metadata = () if call is None else tuple(call.reply_metadata)
    return Done(Status(error.status), error.message, error.details, metadata)
