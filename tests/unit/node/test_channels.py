"""Channels are shared, bounded, and given up only when nobody uses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keynet.address import NodeId
from keynet.errors import RpcError
from keynet.node.channels import Channels
from keynet.rpc.api import Request
from keynet.rpc.method import Kind, untyped
from keynet.rpc.status import Status, rpc_error

REQUEST = Request(untyped("s.m", Kind.DUPLEX), {})


class FakeCall:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.reply_metadata = (("k", "v"),)
        self.items: list[Any] = []
        self.sent: list[Any] = []
        self.cancelled = 0

    async def send(self, item: Any) -> None:
        self.sent.append(item)

    async def finish_sending(self) -> None:
        self.sent.append(None)

    async def receive(self) -> Any:
        return await self.result()

    async def result(self) -> Any:
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        self.cancelled += 1


class FakeChannel:
    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.closed = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: RpcError | None = None

    async def start(self, request: Request) -> FakeCall:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.calls.append(FakeCall())
        return self.calls[-1]

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


class FakeBinding:
    name = "fake"

    def __init__(self) -> None:
        self.made: list[FakeChannel] = []

    def connect(self, network: Any, node_id: NodeId) -> FakeChannel:
        self.made.append(FakeChannel())
        return self.made[-1]


def channels(most: int = 2) -> tuple[Channels, FakeBinding]:
    binding = FakeBinding()
    return Channels(None, {"fake": binding}, most), binding  # type: ignore[arg-type, dict-item]


def peer(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_clients_of_a_peer_share_a_channel() -> None:
    shared, binding = channels()
    one, other = shared.shared(peer(1), "fake"), shared.shared(peer(1), "fake")
    assert binding.made == [], "nothing is made before the first call"
    await one.start(REQUEST)
    await other.start(REQUEST)
    assert len(binding.made) == len(shared) == 1
    await shared.aclose()
    assert binding.made[0].closed == 1


async def test_calls_pass_through_unchanged() -> None:
    shared, binding = channels()
    call = await shared.shared(peer(1), "fake").start(REQUEST)
    inner = binding.made[0].calls[0]
    await call.send(1)
    await call.finish_sending()
    assert inner.sent == [1, None]
    inner.items = [7, StopAsyncIteration()]
    assert await call.receive() == 7
    with pytest.raises(StopAsyncIteration):
        await call.receive()
    assert call.reply_metadata == (("k", "v"),)


@pytest.mark.parametrize("end", ["result", "error", "stream", "stream error", "cancel"])
async def test_the_longest_idle_channel_makes_room_for_a_new_one(end: str) -> None:
    shared, binding = channels(most=2)
    call = await shared.shared(peer(1), "fake").start(REQUEST)
    await shared.shared(peer(2), "fake").start(REQUEST)
    with pytest.raises(RpcError) as caught:
        await shared.shared(peer(3), "fake").start(REQUEST)
    assert caught.value.status == Status.RESOURCE_EXHAUSTED
    inner = binding.made[0].calls[0]
    inner.items = {
        "result": [1],
        "stream": [StopAsyncIteration()],
        "cancel": [],
    }.get(end, [rpc_error(Status.ABORTED, "")])
    try:
        if end == "cancel":
            call.cancel()
        elif end.startswith("stream"):
            await call.receive()
        else:
            await call.result()
    except (StopAsyncIteration, RpcError):
        assert end != "result"
    call.cancel()
    call.cancel()
    await shared.shared(peer(3), "fake").start(REQUEST)
    await settle()
    assert [channel.closed for channel in binding.made] == [1, 0, 0]
    assert len(shared) == 2
    await shared.aclose()


async def test_a_call_that_never_began_holds_nothing() -> None:
    shared, binding = channels(most=1)
    first = shared.shared(peer(1), "fake")
    (await first.start(REQUEST)).cancel()
    binding.made[0].error = rpc_error(Status.UNAVAILABLE, "not there")
    with pytest.raises(RpcError):
        await first.start(REQUEST)
    binding.made[0].error = None
    binding.made[0].gate.clear()
    waiting = asyncio.ensure_future(first.start(REQUEST))
    await settle()
    with pytest.raises(RpcError):
        await shared.shared(peer(2), "fake").start(REQUEST)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await shared.shared(peer(2), "fake").start(REQUEST)
    await shared.aclose()
    assert [channel.closed for channel in binding.made] == [1, 1]


async def test_a_closed_client_ends_its_own_calls_alone() -> None:
    shared, binding = channels()
    one, other = shared.shared(peer(1), "fake"), shared.shared(peer(1), "fake")
    await one.start(REQUEST)
    await other.start(REQUEST)
    await one.aclose()
    await one.aclose()
    assert [call.cancelled for call in binding.made[0].calls] == [1, 0]
    with pytest.raises(RpcError) as caught:
        await one.start(REQUEST)
    assert caught.value.status == Status.CANCELLED
    assert binding.made[0].closed == 0
    await shared.aclose()


async def test_a_client_that_is_closed_while_a_call_begins_ends_it() -> None:
    shared, binding = channels()
    client = shared.shared(peer(1), "fake")
    (await client.start(REQUEST)).cancel()
    binding.made[0].gate.clear()
    beginning = asyncio.ensure_future(client.start(REQUEST))
    await settle()
    await client.aclose()
    binding.made[0].gate.set()
    await beginning
    assert binding.made[0].calls[-1].cancelled == 1
    await shared.aclose()


async def test_after_the_end_there_are_no_calls() -> None:
    shared, binding = channels()
    client = shared.shared(peer(1), "fake")
    await client.start(REQUEST)
    await shared.aclose()
    await shared.aclose()
    with pytest.raises(RpcError) as caught:
        await client.start(REQUEST)
    assert caught.value.status == Status.UNAVAILABLE
    assert [channel.closed for channel in binding.made] == [1]
