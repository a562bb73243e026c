"""A caller's deadline, enforced at the caller's end whatever the peer does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from keynet.errors import RpcError
from keynet.rpc.api import ClientCall, Metadata
from keynet.rpc.status import Status, rpc_error

T = TypeVar("T")


async def in_time(work: Awaitable[T], deadline: float | None) -> T:
    """What `work` gives. Raises RpcError when it has not until `deadline`, in loop time."""
    if deadline is None:
        return await work
    timer = asyncio.timeout_at(deadline)
    try:
        async with timer:
            return await work
    except TimeoutError:
        if timer.expired():
            raise _deadline_exceeded() from None
        raise


class TimedCall:
    """A call that is cancelled at its deadline, and then ends with DEADLINE_EXCEEDED."""

    def __init__(self, call: ClientCall, deadline: float) -> None:
        """Call it in a running event loop, whose time `deadline` is in."""
        self._call = call
        self._expired = False
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    @property
    def reply_metadata(self) -> Metadata:
        return self._call.reply_metadata

    async def send(self, item: Any) -> None:
        await self._call.send(item)

    async def finish_sending(self) -> None:
        await self._call.finish_sending()

    async def receive(self) -> Any:
        try:
            return await self._call.receive()
        except (RpcError, StopAsyncIteration) as end:
            raise self._reason(end) from end.__cause__

    async def result(self) -> Any:
        try:
            value = await self._call.result()
        except RpcError as end:
            raise self._reason(end) from end.__cause__
        self._timer.cancel()
        return value

    def cancel(self) -> None:
        self._timer.cancel()
        self._call.cancel()

    def _expire(self) -> None:
        self._expired = True
        self._call.cancel()

    def _reason(self, end: Exception) -> Exception:
        """Why the call ended, which it has."""
        self._timer.cancel()
        cancelled = isinstance(end, RpcError) and end.status == Status.CANCELLED
        return _deadline_exceeded() if self._expired and cancelled else end


def _deadline_exceeded() -> RpcError:
    return rpc_error(Status.DEADLINE_EXCEEDED, "no answer within the time for the call")
