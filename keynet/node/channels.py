"""A node's channels to its peers: one for each peer and binding, shared by whoever calls.

A channel that has no call running is given up when there are too many; the next call makes
another one. Who calls notices nothing of it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from keynet.address import NodeId
from keynet.errors import LocallyClosed, RpcError
from keynet.rpc.api import Binding, Channel, ClientCall, Metadata, Network, Request
from keynet.rpc.status import Status, from_network, rpc_error

MAX_CHANNELS = 1024
"""Channels at a time, idle ones included."""

_Key = tuple[NodeId, str]


class Channels:
    """The channels of one node."""

    def __init__(
        self, network: Network, bindings: Mapping[str, Binding], most: int = MAX_CHANNELS
    ) -> None:
        self._network = network
        self._bindings = bindings
        self._most = most
        self._open: OrderedDict[_Key, _Entry] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def shared(self, node_id: NodeId, binding: str) -> Channel:
        """The channel to that peer, for one more client; its `aclose` leaves it to the others."""
        return _Shared(self, (node_id, binding))

    async def aclose(self) -> None:
        """End every channel: calls that run fail with CANCELLED. Idempotent."""
        self._closed = True
        entries = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(entry.channel.aclose() for entry in entries), *self._closing)

    async def start(
        self, key: _Key, request: Request, over: Callable[[ClientCall], None]
    ) -> ClientCall:
        """Begin a call on the channel `key`, which is made if need be; `over` is called, once,
        when it has ended. Raises as `api.Channel` does."""
        entry = self._entry(key)
        entry.calls += 1
        try:
            call = await entry.channel.start(request)
        except BaseException:
            entry.calls -= 1
            raise

        def ended(call: ClientCall) -> None:
            entry.calls -= 1
            over(call)

        return _Watched(call, ended)

    def _entry(self, key: _Key) -> _Entry:
        if self._closed:
            raise from_network(LocallyClosed("this node is closed"))
        if key not in self._open:
            self._make_room()
            node_id, binding = key
            channel = self._bindings[binding].connect(self._network, node_id)
            self._open[key] = _Entry(channel)
        self._open.move_to_end(key)
        return self._open[key]

    def _make_room(self) -> None:
        if len(self._open) < self._most:
            return
        idle = next((key for key, entry in self._open.items() if not entry.calls), None)
        if idle is None:
            raise rpc_error(
                Status.RESOURCE_EXHAUSTED,
                f"this node calls {self._most} peers already; wait for some calls to end",
            )
        task = asyncio.create_task(self._open.pop(idle).channel.aclose(), name="close a channel")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Entry:
    """One channel, and how many calls of it have not ended."""

    __slots__ = ("calls", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.calls = 0


class _Shared:
    """One client's hold on a channel."""

    def __init__(self, channels: Channels, key: _Key) -> None:
        self._channels = channels
        self._key = key
        self._calls: set[ClientCall] = set()
        self._closed = False

    async def start(self, request: Request) -> ClientCall:
        if self._closed:
            raise rpc_error(Status.CANCELLED, "this client is closed")
        call = await self._channels.start(self._key, request, self._calls.discard)
        self._calls.add(call)
        if self._closed:
            call.cancel()
        return call

    async def aclose(self) -> None:
        """End this client's calls; the channel stays for the others."""
        self._closed = True
        for call in tuple(self._calls):
            call.cancel()


class _Watched:
    """A call that tells when it is over."""

    __slots__ = ("_call", "_ended")

    def __init__(self, call: ClientCall, ended: Callable[[ClientCall], None]) -> None:
        self._call = call
        self._ended: Callable[[ClientCall], None] | None = ended

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
        except (RpcError, StopAsyncIteration):
            self._over()
            raise

    async def result(self) -> Any:
        try:
            result = await self._call.result()
        except RpcError:
            self._over()
            raise
        self._over()
        return result

    def cancel(self) -> None:
        self._call.cancel()
        self._over()

    def _over(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)
