"""Streaming calls as callers hold them: iterate, send, leave early. Which call it is was said
before; see `client.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from keynet.errors import LocalProtocolError, RpcError
from keynet.rpc.api import ClientCall, Metadata
from keynet.rpc.iteration import closed_after
from keynet.rpc.status import Status, rpc_error

T = TypeVar("T")

Items = AsyncIterable[Any] | Iterable[Any]

SENDS_AT_ONCE = 32
"""Items that are sent before others get a turn: sending need not wait for anything."""


class StreamCall(Generic[T]):
    """A call whose server streams.

    `async for item in call` alone ends the call when it is left early. Inside `async with call`
    one may iterate in several steps; leaving that ends it.
    """

    def __init__(self, start: Callable[[], Awaitable[ClientCall]]) -> None:
        """`start` begins the call, when it is needed."""
        self._start = start
        self._call: ClientCall | None = None
        self._entered = False
        self._cancelled = False

    @property
    def reply_metadata(self) -> Metadata:
        """What came with the end of the call; empty before."""
        return () if self._call is None else self._call.reply_metadata

    async def __aenter__(self) -> StreamCall[T]:
        await self._enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[T]:
        return self if self._entered else self._to_the_end()

    async def __anext__(self) -> T:
        """The next item. Raises RpcError. Cancellable without losing an item."""
        return cast(T, await (await self._begin()).receive())

    def cancel(self) -> None:
        """Tell the peer to stop, and end with CANCELLED. Idempotent; harmless after the end."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def _enter(self) -> None:
        self._entered = True
        await self._begin()

    async def _begin(self) -> ClientCall:
        """The call, begun now if it has not been."""
        if self._call is None:
            if self._cancelled:
                raise rpc_error(Status.CANCELLED, "cancelled before the call began")
            self._call = await self._start()
            if self._cancelled:
                self._call.cancel()
        return self._call

    async def _to_the_end(self) -> AsyncIterator[T]:
        async with self:
            async for item in self:
                yield item


class DuplexCall(StreamCall[T]):
    """A call with which both sides stream. Use it with `async with`; one task may send while
    another one iterates."""

    async def __aenter__(self) -> DuplexCall[T]:
        await self._enter()
        return self

    async def send(self, item: Any) -> None:
        """Stream one item, once there is room for it. Cancellable: it is sent whole or not.

        Returns in silence when the call is over: iterating tells how it ended.
        """
        await self._begun().send(item)

    async def finish_sending(self) -> None:
        """No more items. Idempotent."""
        await self._begun().finish_sending()

    def _begun(self) -> ClientCall:
        if self._call is None:
            raise LocalProtocolError("begin the call with `async with` before sending")
        return self._call


async def feed(call: ClientCall, items: Items) -> Any:
    """Send `items` and give the call's result, or raise what either raises. Ends the call."""
    sending = asyncio.create_task(_send_all(call, items), name="rpc items")
    sending.add_done_callback(lambda task: _cancel_after_failure(task, call))
    try:
        outcome = await _outcome(call)
    finally:
        call.cancel()
        sending.cancel()
        await asyncio.wait([sending])
    if not sending.cancelled():
        sending.result()  # what the items raised comes first: the call was cancelled for it
    if isinstance(outcome, RpcError):
        raise outcome
    return outcome


async def _outcome(call: ClientCall) -> Any:
    try:
        return await call.result()
    except RpcError as error:
        return error


async def _send_all(call: ClientCall, items: Items) -> None:
    sent = 0
    async with closed_after(_asynchronous(items)) as each:
        async for item in each:
            await call.send(item)
            sent += 1
            if sent % SENDS_AT_ONCE == 0:
                await asyncio.sleep(0)
    await call.finish_sending()


def _asynchronous(items: Items) -> AsyncIterable[Any]:
    return items if isinstance(items, AsyncIterable) else _one_by_one(items)


async def _one_by_one(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _cancel_after_failure(sending: asyncio.Task[None], call: ClientCall) -> None:
    if not sending.cancelled() and sending.exception() is not None:
        call.cancel()
