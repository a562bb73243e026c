"""One dial for all clients that want the same node at the same time.

The dial runs in a task of its own, which its clients wait for. It is cancelled when the last of
them leaves.
"""

from __future__ import annotations

import asyncio

from keynet.address import NodeId, SocketAddress
from keynet.rpc.api import ByteConnection
from keynet.rpc.proxy.api import Dialer, Target

_Key = tuple[NodeId, SocketAddress | None]


class _Dial:
    """A dial under way and the number of those who wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[ByteConnection]) -> None:
        self.task = task
        self.waiting = 0


class Dials:
    """The dials under way, at most one for each node (and address, where clients name one)."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._running: dict[_Key, _Dial] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def connect(self, target: Target) -> ByteConnection:
        """Join the dial to that node, or start it. Raises what the dialer raises. Cancellable."""
        key = (target.node_id, target.address)
        dial = self._running.get(key) or self._start(key, target)
        dial.waiting += 1
        try:
            return await asyncio.shield(dial.task)
        finally:
            dial.waiting -= 1
            if not dial.waiting and not dial.task.done():
                self._forget(key, dial)
                dial.task.cancel()

    def _start(self, key: _Key, target: Target) -> _Dial:
        dial = _Dial(asyncio.ensure_future(self._dialer.connect(target)))
        self._running[key] = dial
        dial.task.add_done_callback(lambda _: self._forget(key, dial))
        return dial

    def _forget(self, key: _Key, dial: _Dial) -> None:
        if self._running.get(key) is dial:
            del self._running[key]
