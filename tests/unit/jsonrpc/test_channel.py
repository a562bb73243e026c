"""The calling side: one stream for all calls, its loss, its end, and peers that talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from keynet.address import NodeId
from keynet.errors import ConnectionLost, LookupFailed, RpcError
from keynet.rpc.api import ByteStream, Request
from keynet.rpc.client import Client
from keynet.rpc.jsonrpc import Binding, Settings, channel_over
from keynet.rpc.jsonrpc.credit import INITIAL_CREDIT
from keynet.rpc.method import Kind, untyped
from keynet.rpc.status import Status
from keynet.testing.clock import run
from keynet.testing.streams import MemoryConnection, connected
from tests.unit.jsonrpc.scene import HERE, THERE, Hand, probe, served


class Dialled:
    """A network whose streams lead to a hand, after `delay` seconds."""

    def __init__(self, delay: float = 1.0) -> None:
        self.delay = delay
        self.dials = 0
        self.cancelled = 0
        self.far: list[Hand] = []
        self.connections: list[MemoryConnection] = []
        self.refusal: Exception | None = None

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        assert (node_id, protocol) == (THERE.node_id, "jsonrpc")
        self.dials += 1
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.refusal is not None:
            raise self.refusal
        near, far = connected(HERE, THERE)
        self.connections.append(near)
        stream = await near.open_stream()
        self.far.append(Hand(await far.accept_stream()))
        return stream


def channel(network: Any, settings: Settings | None = None) -> Any:
    return Binding(settings or Settings()).connect(network, THERE.node_id)


def ask(number: int = 1, timeout: float | None = None) -> Request:
    return Request(untyped("probe.double", Kind.UNARY), {"number": number}, timeout=timeout)


def stream_of_count(params: dict[str, Any]) -> Request:
    return Request(untyped("probe.count", Kind.SERVER_STREAM), params)


def stream_of(kind: Kind) -> Request:
    return Request(untyped("probe.stream", kind), {})


@contextlib.contextmanager
def ends_with(status: Status, words: str = "") -> Iterator[None]:
    with pytest.raises(RpcError) as caught:
        yield
    error = caught.value
    assert error.status == status, error
    assert words in error.message


async def answer(hand: Hand, result: Any) -> Any:
    """Hear a request and answer it; gives its params."""
    heard = await hand.hear()
    hand.say({"jsonrpc": "2.0", "result": result, "id": heard["id"]})
    return heard["params"]


def test_simultaneous_first_calls_share_one_dial_and_one_stream() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        calls = await asyncio.gather(*(to.start(ask(n)) for n in range(5)))
        assert network.dials == 1
        for n in range(5):
            assert (await answer(network.far[0], n))["params"] == {"number": n}
        assert [await call.result() for call in calls] == list(range(5))
        await to.start(ask())
        assert network.dials == 1
        await to.aclose()

    run(program())


def test_the_dial_takes_of_the_timeout() -> None:
    async def program() -> None:
        network = Dialled(delay=4.0)
        to = channel(network)
        await to.start(ask(timeout=10.0))
        assert (await network.far[0].hear())["params"]["timeout"] == pytest.approx(6.0)
        await to.aclose()

    run(program())


def test_a_dial_that_nobody_waits_for_any_more_is_given_up() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        waiting = [asyncio.create_task(to.start(ask())) for _ in range(2)]
        await asyncio.sleep(0.1)
        waiting[0].cancel()
        await asyncio.sleep(0.1)
        assert network.cancelled == 0
        waiting[1].cancel()
        late = asyncio.create_task(to.start(ask()))
        await asyncio.sleep(0.1)
        assert (network.cancelled, network.dials) == (1, 2)
        await late
        await to.aclose()

    run(program())


def test_a_failed_dial_is_told_to_all_and_tried_again_by_the_next() -> None:
    async def program() -> None:
        network = Dialled()
        network.refusal = LookupFailed("nobody knows that node")
        to = channel(network)
        failures = await asyncio.gather(
            *(to.start(ask()) for _ in range(3)), return_exceptions=True
        )
        assert [getattr(error, "status", None) for error in failures] == [Status.UNAVAILABLE] * 3
        network.refusal = None
        await to.start(ask())
        assert network.dials == 2
        await to.aclose()

    run(program())


def test_a_loss_is_unavailable_with_the_reason_and_the_next_call_dials_anew() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        call, stream = await to.start(ask()), await to.start(stream_of(Kind.DUPLEX))
        network.connections[0].lose("the path died")
        with ends_with(Status.UNAVAILABLE, "the path died"):
            await call.result()
        with ends_with(Status.UNAVAILABLE, "the path died"):
            await stream.receive()
        await stream.send("harmless")
        again = await to.start(ask(3))
        await answer(network.far[1], 6)
        assert await again.result() == 6
        await to.aclose()

    run(program())


def test_closing_ends_calls_dials_and_the_stream() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        call = await to.start(ask())
        await to.aclose()
        await to.aclose()
        with ends_with(Status.CANCELLED):
            await call.result()
        with ends_with(Status.CANCELLED, "closed"):
            await to.start(ask())
        await network.far[0].hear()
        assert (await network.far[0].hear())["method"] == "rpc.cancel"
        other = channel(network)
        starting = asyncio.create_task(other.start(ask()))
        await asyncio.sleep(0.1)
        await other.aclose()
        with ends_with(Status.CANCELLED):
            await starting

    run(program())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("no JSON", Status.INTERNAL),
        ('{"jsonrpc":"2.0","id":1}', Status.INTERNAL),
        ('{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}', Status.INTERNAL),
        ('{"jsonrpc":"1.0","id":1,"result":1}', Status.INTERNAL),
        ('[{"jsonrpc":"2.0","id":1,"result":1}]', Status.INTERNAL),
        ("[" * 100_000, Status.INTERNAL),
        (b"\xff", Status.INTERNAL),
        ('{"jsonrpc":"2.0","method":"rpc.item","params":{}}', Status.INTERNAL),
        ('{"jsonrpc":"2.0","method":"rpc.metadata","params":{"id":1,"metadata":[["A",""]]}}',
         Status.INTERNAL),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
         Status.INTERNAL),
        (b"x" * (5 << 20), Status.RESOURCE_EXHAUSTED),
    ],
)  # fmt: skip
def test_a_peer_that_speaks_no_json_rpc_ends_all_calls(said: str | bytes, status: Status) -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        calls = [await to.start(ask()) for _ in range(2)]
        network.far[0].say(said)
        for call in calls:
            with ends_with(status):
                await call.result()
        await to.aclose()

    run(program())


@pytest.mark.parametrize(
    "said",
    [
        '{"jsonrpc":"2.0","id":99,"result":1}',
        '{"jsonrpc":"2.0","id":"1","result":1}',
        '{"jsonrpc":"2.0","id":1.0,"result":1}',
        '{"jsonrpc":"2.0","method":"anything","params":[1]}',
        '{"jsonrpc":"2.0","method":"rpc.error","params":{"code":1,"message":"x"}}',
        '{"jsonrpc":"2.0","method":"rpc.item","params":{"id":50,"item":1}}',
        '{"jsonrpc":"2.0","method":"rpc.credit","params":{"id":50,"credit":1}}',
        "",
    ],
)
def test_what_is_about_no_call_of_this_side_is_passed_over(said: str) -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        call = await to.start(ask())
        network.far[0].say(said)
        await answer(network.far[0], 5)
        assert await call.result() == 5
        await to.aclose()

    run(program())


@pytest.mark.parametrize(
    ("kind", "lines", "status"),
    [
        (Kind.UNARY, ['{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"item":1}}'],
         Status.INTERNAL),
        (Kind.SERVER_STREAM, ['{"jsonrpc":"2.0","id":1,"result":1}'], Status.INTERNAL),
        (Kind.SERVER_STREAM,
         ['{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"item":"%s"}}' % ("x" * 40_000)]
         * 3, Status.RESOURCE_EXHAUSTED),
    ],
)  # fmt: skip
def test_breaking_the_rules_of_a_call_ends_that_call_alone(
    kind: Kind, lines: list[str], status: Status
) -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network, Settings(window=65_536))
        bad, good = await to.start(stream_of(kind)), await to.start(ask())
        network.far[0].say(*lines)
        with ends_with(status):
            if kind.server_streams:
                while True:
                    await bad.receive()
            await bad.result()
        await network.far[0].hear()
        await answer(network.far[0], 5)
        assert await good.result() == 5
        await to.aclose()

    run(program())


def test_waits_for_credit_before_it_sends() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        call = await to.start(stream_of(Kind.CLIENT_STREAM))
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await call.send("x" * 1000)
                sent += 1

        sending = asyncio.create_task(send())
        await asyncio.sleep(60)
        assert 60 <= sent <= 66
        network.far[0].say(
            {"jsonrpc": "2.0", "method": "rpc.credit", "params": {"id": 1, "credit": 10_000}}
        )
        await asyncio.sleep(60)
        assert 69 <= sent <= 76
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await to.aclose()

    run(program())


def test_sending_on_after_the_end_keeps_nobody_from_running() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network)
        call = await to.start(stream_of(Kind.CLIENT_STREAM))
        await answer(network.far[0], "enough")
        assert await call.result() == "enough"

        async def send() -> None:
            while True:
                await call.send("more")

        sending = asyncio.create_task(send())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await to.aclose()

    run(program())


def test_items_left_unread_are_given_back_when_the_call_is_cancelled() -> None:
    async def program() -> None:
        async with served(settings=Settings(budget=100_000)) as scene:
            client = scene.client()
            request = ("probe.count", {"to": 60, "text": "x" * 1000})
            for _ in range(5):
                async with client.server_stream(*request) as stream:
                    await anext(stream)
                    await asyncio.sleep(1)
            assert len([item async for item in client.server_stream(*request)]) == 60
            await client.aclose()

    run(program())


def test_params_too_large_or_not_json_are_refused_before_they_are_sent() -> None:
    async def program() -> None:
        network = Dialled()
        to = channel(network, Settings(max_message_size=1000))
        method = untyped("probe.double", Kind.UNARY)
        with ends_with(Status.RESOURCE_EXHAUSTED):
            await to.start(Request(method, {"text": "x" * 1000}))
        with ends_with(Status.INTERNAL, "JSON"):
            await to.start(Request(method, {"object": object()}))
        await to.start(ask())
        assert (await network.far[0].hear())["params"]["params"] == {"number": 1}
        await to.aclose()

    run(program())


def test_a_channel_over_a_given_stream_is_over_with_it() -> None:
    async def program() -> None:
        async with served(probe()) as scene:
            stream = await scene.near.open_stream(THERE.node_id, "jsonrpc")
            async with Client(channel_over(stream)) as client:
                assert await client.call("probe.double", {"number": 4}) == 8
                scene.near.lose("pulled")
                for _ in range(2):
                    with ends_with(Status.UNAVAILABLE):
                        await client.call("probe.double", {"number": 4})

    run(program())


def test_losing_the_path_while_a_dial_is_under_way() -> None:
    async def program() -> None:
        network = Dialled()
        network.refusal = ConnectionLost("the path died meanwhile")
        to = channel(network)
        with ends_with(Status.UNAVAILABLE, "meanwhile"):
            await to.start(ask())
        await to.aclose()

    run(program())


def test_slow_readers_however_many_end_no_call_of_their_neighbours() -> None:
    async def program() -> None:
        settings = Settings(budget=4 * INITIAL_CREDIT)
        async with served(settings=settings) as scene:
            client = scene.client()
            many = ("probe.count", {"to": 60, "text": "x" * 10_000})
            slow = [await client.start(stream_of_count(many[1])) for _ in range(12)]
            await asyncio.sleep(1)
            assert len([item async for item in client.server_stream(*many)]) == 60
            for call in slow:
                for _ in range(60):
                    await call.receive()
                with pytest.raises(StopAsyncIteration):
                    await call.receive()
            await client.aclose()

    run(program())


@pytest.mark.parametrize("ending", ["deadline", "cancel"])
def test_who_sends_to_a_peer_that_reads_nothing_is_let_go_when_the_call_ends(ending: str) -> None:
    async def program() -> None:
        to = Client(channel(Dialled()))
        async with to.duplex("probe.shout", timeout=9 if ending == "deadline" else None) as call:
            other = await to.start(stream_of(Kind.DUPLEX))
            await call.send("x" * (1 << 20))
            sending = asyncio.create_task(other.send("y"))
            await asyncio.sleep(5)
            if ending == "cancel":
                asyncio.get_running_loop().call_later(1, call.cancel)
            async with asyncio.timeout(10):
                await call.send("y")
            status = Status.DEADLINE_EXCEEDED if ending == "deadline" else Status.CANCELLED
            with ends_with(status):
                await anext(call)
            assert not sending.done()
            other.cancel()
            await sending
        await to.aclose()

    run(program())
