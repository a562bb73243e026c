"""RPC bindings broken on purpose: the framed sample with one fault each.

What stands between the sample and the suite is below: the binding, its calls at the calling end,
and the dispatcher at the serving end, each of which passes everything on. The faults are in
`binding_samples.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from keynet_framed import FramedBinding

from keynet.address import NodeId
from keynet.errors import RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.api import (
    MAX_MESSAGE_SIZE,
    Call,
    Channel,
    ClientCall,
    Dispatch,
    Metadata,
    Network,
    Request,
    Send,
    Server,
)


class Caller:
    """A call at the calling end."""

    def __init__(self, call: ClientCall, request: Request) -> None:
        self.call = call
        self.request = request

    @property
    def reply_metadata(self) -> Metadata:
        return self.call.reply_metadata

    async def send(self, item: Any) -> None:
        await self.call.send(item)

    async def finish_sending(self) -> None:
        await self.call.finish_sending()

    async def receive(self) -> Any:
        try:
            return await self.call.receive()
        except RpcError as error:
            raise self.translated(error) from error

    async def result(self) -> Any:
        try:
            return await self.call.result()
        except RpcError as error:
            raise self.translated(error) from error

    def cancel(self) -> None:
        self.call.cancel()

    def translated(self, error: RpcError) -> RpcError:
        """What the caller is told instead."""
        return error


class Serving:
    """The dispatcher, as the binding sees it."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch

    @property
    def max_message_size(self) -> int:
        return self.dispatch.max_message_size

    @contextmanager
    def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Iterator[Call]:
        with self.dispatch.admit(name, peer, **options) as call:
            yield call

    async def run(
        self,
        call: Call,
        params: Any,
        requests: AsyncIterator[Any] | None = None,
        send: Send | None = None,
    ) -> Any:
        return await self.dispatch.run(call, params, requests, send)

    async def drain(self, binding: str, grace: float = 5.0) -> None:
        await self.dispatch.drain(binding, grace)


class Sample:
    """A binding. Says what is to find its fault; without a change of its own it is sound."""

    rejected_by: str
    """The check that must find the fault."""
    name = "broken"
    limit = MAX_MESSAGE_SIZE
    caller: type[Caller] = Caller
    serving: type[Serving] = Serving

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        return await self._sound().serve(network, self.serving(dispatch))

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        return _Channel(self, self._sound().connect(network, node_id))

    async def start(self, channel: Channel, request: Request) -> ClientCall:
        return self.caller(await channel.start(request), request)

    async def aclose(self, channel: Channel) -> None:
        await channel.aclose()

    def _sound(self) -> FramedBinding:
        return FramedBinding(self.limit, self.name if self.name.isalpha() else "broken")


class _Channel:
    def __init__(self, sample: Sample, channel: Channel) -> None:
        self._sample = sample
        self._channel = channel

    async def start(self, request: Request) -> ClientCall:
        return await self._sample.start(self._channel, request)

    async def aclose(self) -> None:
        await self._sample.aclose(self._channel)
