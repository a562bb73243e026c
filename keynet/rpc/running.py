"""One served call from its admission to the end of its function, however that comes about.

The function has a task of its own, so that one that ignores its cancellation holds up nobody:
the binding goes on, and the function keeps its slot until it really ends. What is called, and
which errors become which status, is `dispatch.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from keynet.errors import KeynetError, LocalProtocolError, RpcError
from keynet.rpc.api import Call, Send
from keynet.rpc.status import Status, from_network, rpc_error

log = logging.getLogger(__name__)

ABANDON_AFTER = 1.0
"""Seconds that a cancelled function may take before the log complains of it."""


class Running:
    """A call that was admitted. Holds its slot until its binding and its function are done."""

    def __init__(self, call: Call, release: Callable[[Call], None]) -> None:
        """`release` is called exactly once."""
        self.call = call
        self._release = release
        self._task: asyncio.Task[Any] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._error: RpcError | None = None
        self._complaint: asyncio.TimerHandle | None = None
        self._over = False
        self._left = False
        self._released = False

    @property
    def over(self) -> bool:
        """Whether nobody waits for the function any longer, should it still run."""
        return self._over

    async def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run `work` to its end, the call's deadline, `end`, or this task's cancellation."""
        self._check_may_begin()
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._task = loop.create_task(work(), name=f"rpc {self.call.method.full_name}")
        self._task.add_done_callback(self._finished)
        timer = None
        if self.call.deadline is not None:
            timer = loop.call_at(self.call.deadline, self._expire)
        try:
            await self._ended
        finally:
            if timer is not None:
                timer.cancel()
            self._stop()
        if self._error is not None:
            raise self._error
        return self._task.result()

    def end(self, error: RpcError) -> None:
        """Have `run` raise `error`, now or when it begins, unless it has ended already."""
        if self._over or (self._ended is not None and self._ended.done()):
            return
        self._error = error
        if self._ended is not None:
            self._ended.set_result(None)

    def leave(self) -> None:
        """The binding is done with the call."""
        self._left = True
        self._stop()
        self._settle()

    def requests(self, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The client's items, for as long as the call is not over."""
        return _Requests(self, items)

    def send(self, send: Send) -> Send:
        """The binding's `send`, for as long as the call is not over."""

        async def guarded(item: Any) -> None:
            await self.check_not_over()
            try:
                await send(item)
            except KeynetError as error:
                raise from_network(error) from error

        return guarded

    async def check_not_over(self) -> None:
        """Raise RpcError when the call is over. Lets others run first: the caller may try again."""
        if self._over:
            await asyncio.sleep(0)
            raise rpc_error(Status.CANCELLED, "the call is over")

    def _check_may_begin(self) -> None:
        if self._task is not None or self._left:
            raise LocalProtocolError("a call runs once, inside the context that admitted it")
        if self._error is not None:
            raise self._error
        if self.call.remaining(asyncio.get_running_loop().time()) == 0.0:
            raise _deadline_exceeded()

    def _expire(self) -> None:
        self.end(_deadline_exceeded())

    def _stop(self) -> None:
        """Nobody waits any longer: cancel the function, if it still runs."""
        if not self._over and self._task is not None and not self._task.done():
            self._task.cancel()
            self._complaint = self._task.get_loop().call_later(ABANDON_AFTER, self._complain)
        self._over = True

    def _complain(self) -> None:
        log.warning(
            "%s, called by %s, ignores that it was cancelled; it counts as running until it ends",
            self.call.method.full_name,
            self.call.peer.node_id.short,
        )

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if self._complaint is not None:
            self._complaint.cancel()
        if not task.cancelled():
            task.exception()  # taken note of, also when nobody waits for it any longer
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._settle()

    def _settle(self) -> None:
        if self._left and not self._released and (self._task is None or self._task.done()):
            self._released = True
            self._release(self.call)


class _Requests:
    """A client's items, which end with the call, and whose errors are RpcErrors."""

    def __init__(self, running: Running, items: AsyncIterator[Any]) -> None:
        self._running = running
        self._items = items

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        await self._running.check_not_over()
        try:
            return await anext(self._items)
        except KeynetError as error:
            raise from_network(error) from error


def _deadline_exceeded() -> RpcError:
    return rpc_error(Status.DEADLINE_EXCEEDED, "the time for the call ran out at the server")
