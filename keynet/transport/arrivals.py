"""What peers bring, in order, for whoever asks for it: a queue that can end. No I/O lives here."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from keynet.errors import KeynetError

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Several tasks may wait in `get`, and any of them may be cancelled at any moment."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._ending: KeynetError | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        self._items.append(item)
        self._wake_one()

    def discard(self, item: T) -> None:
        """Forget an item that nobody has taken yet."""
        if item in self._items:
            self._items.remove(item)

    def end(self, error: KeynetError) -> None:
        """Let everybody who waits, now and later, have the first `error` once no item is left."""
        self._ending = self._ending or error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def get(self) -> T:
        """The oldest item. Raises what `end` was given."""
        while not self._items:
            if self._ending is not None:
                raise self._ending.with_traceback(None)
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if self._items:
                    self._wake_one()  # the wake-up may have been this task's
                raise
            finally:
                self._waiters.remove(waiter)
        return self._items.popleft()

    def _wake_one(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return
