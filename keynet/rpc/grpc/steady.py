"""One operation at a time that outlives whoever awaits it.

grpcio takes the cancelling of a read or a write as the cancelling of the whole call, and loses
the message. Here the operation goes on, and the next to ask gets its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from keynet.rpc.status import Status, rpc_error

T = TypeVar("T")


class Steady(Generic[T]):
    """Operations of one kind, one after the other."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: asyncio.Future[T] | None = None

    @property
    def idle(self) -> bool:
        """Whether there is no operation, or somebody has had the outcome of the last one."""
        return self._running is None

    def begin(self, operation: Awaitable[T]) -> None:
        """Start one. Only when idle."""
        self._running = asyncio.ensure_future(operation)
        self._running.add_done_callback(_retrieve)

    async def outcome(self) -> T:
        """What the operation gives or raises. Cancellable: it then still runs.

        Raises RpcError (CANCELLED) when grpcio cancelled it, with its call.
        """
        running = self._running
        assert running is not None
        await asyncio.wait((running,))
        self._running = None
        if running.cancelled():
            raise rpc_error(Status.CANCELLED, "the call was cancelled")
        return running.result()


def _retrieve(done: asyncio.Future[T]) -> None:
    """Have nobody complain of an outcome that nobody wanted."""
    if not done.cancelled():
        done.exception()
