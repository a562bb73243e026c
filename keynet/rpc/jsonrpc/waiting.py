"""Where tasks wait for a session: an inbox of items, a gate that credit opens, the first of two."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Raw

from keynet.errors import LocalProtocolError, RpcError
from keynet.rpc.jsonrpc.credit import SendCredit


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Until the first of them is done; the others are cancelled. Cancellable."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Waiter:
    """Lets one task wait until it is woken; waking nobody is harmless."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until the next `wake`. Cancellable."""
        if self._future is not None and not self._future.done():
            raise LocalProtocolError("another task waits for this already")
        future = self._future = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            if self._future is future:  # not that of another task that came after a cancellation
                self._future = None

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Inbox:
    """One stream's items, in order, for the one task that takes them. Credit bounds it."""

    __slots__ = ("_ended", "_error", "_items", "_taken", "_waiter")

    def __init__(self, taken: Callable[[int], None]) -> None:
        """`taken` is told what each item counts for as it is taken."""
        self._items: deque[tuple[Raw, int]] = deque()
        self._taken = taken
        self._waiter = Waiter()
        self._ended = False
        self._error: RpcError | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Raw, size: int) -> None:
        self._items.append((item, size))
        self._waiter.wake()

    def end(self, error: RpcError | None = None) -> None:
        """Nothing comes after what is here; only the first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._waiter.wake()

    def clear(self) -> None:
        """Drop what nobody will take."""
        self._items.clear()

    async def get(self) -> Raw:
        """The next item. Raises StopAsyncIteration, or the RpcError that ended the stream.

        Cancellable without losing an item.
        """
        while not self._items:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._ended:
                raise StopAsyncIteration
            await self._waiter.wait()
        item, size = self._items.popleft()
        self._taken(size)
        return item


class Gate:
    """Holds the one task that sends a stream's items until there is credit."""

    __slots__ = ("_credit", "_lifted", "_waiter")

    def __init__(self, credit: SendCredit) -> None:
        self._credit = credit
        self._waiter = Waiter()
        self._lifted = False

    async def passed(self) -> None:
        """Wait for credit, or for the call's end. Cancellable."""
        while not self._credit.open and not self._lifted:
            await self._waiter.wait()

    def credit_came(self) -> None:
        self._waiter.wake()

    def lift(self) -> None:
        """The call is over: nobody needs to wait any more."""
        self._lifted = True
        self._waiter.wake()
