"""A server that closes, as a peer sees it that writes lines by hand; and results that cannot go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from keynet.errors import ClosedByPeer
from keynet.rpc.jsonrpc import Binding, Settings
from keynet.rpc.limits import Limits
from keynet.rpc.service import Service
from keynet.testing.clock import run
from tests.unit.jsonrpc.scene import (
    HERE,
    THERE,
    Hand,
    MemoryNetwork,
    dispatcher,
    extended,
    probe,
    request,
    served,
)


async def start(told: list[str]) -> tuple[Any, MemoryNetwork, Hand]:
    near, far = MemoryNetwork.pair(HERE, THERE)
    server = await Binding(Settings()).serve(far, dispatcher(probe(told)))
    hand = Hand(await near.open_stream(THERE.node_id, "jsonrpc"))
    return server, near, hand


def status_of(answer: Any) -> str:
    status: str = answer["error"]["data"]["status"]
    return status


def test_running_calls_have_their_grace_and_new_ones_are_refused() -> None:
    told: list[str] = []

    async def program() -> None:
        server, near, hand = await start(told)
        hand.say(request("probe.hang", id=1), extended("probe.total", 2))
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(server.aclose(5.0))
        await asyncio.sleep(1)
        hand.say(request("probe.double", [1], id=3))
        refused = await hand.hear()
        assert (refused["id"], status_of(refused)) == (3, "UNAVAILABLE")
        hand.say({"jsonrpc": "2.0", "method": "rpc.end", "params": {"id": 2}})
        assert (await hand.hear())["result"] == 0
        ended = await hand.hear()
        assert (ended["id"], status_of(ended)) == (1, "UNAVAILABLE")
        await closing
        with pytest.raises(ClosedByPeer):
            await hand.hear()
        assert asyncio.get_running_loop().time() < 1007
        await server.aclose()
        await near.aclose()

    run(program())
    assert told == ["hang cancelled"]


def test_a_peer_that_does_not_read_holds_up_no_closing() -> None:
    async def program() -> None:
        server, near, hand = await start([])
        for n in range(8):
            params = {"to": 1000, "text": "x" * 1000}
            hand.say(extended("probe.count", n, params=params, credit=1 << 30))
        await asyncio.sleep(1)
        before = asyncio.get_running_loop().time()
        await server.aclose(1.0)
        assert asyncio.get_running_loop().time() - before < 6
        await near.aclose()

    run(program())


def test_an_answer_that_nobody_takes_gives_its_slot_back_at_the_deadline() -> None:
    service = Service("large")

    @service.method
    async def give() -> str:
        return "x" * 200_000

    async def program() -> None:
        async with served(service) as scene:
            hand = await scene.hand()
            hand.say(*(extended("large.give", n, timeout=5) for n in range(20)))
            await asyncio.sleep(1)
            assert scene.dispatch.calls
            await asyncio.sleep(5)
            assert not scene.dispatch.calls

    run(program())


def test_what_cannot_be_written_is_internal_and_its_reason_stays_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("odd")

    @service.method
    async def result() -> Any:
        return object()

    @service.method
    async def items() -> AsyncIterator[Any]:
        yield 1
        yield "\ud800"

    @service.method
    async def large() -> str:
        return "x" * 3000

    @service.method
    async def lines() -> Any:
        return Raw(b'{\n"a":\r\n1}')

    async def program() -> None:
        async with served(service, limits=Limits(max_message_size=2000)) as scene:
            hand = await scene.hand()
            hand.say(request("odd.result", id=1))
            answer = await hand.hear()
            assert status_of(answer) == "INTERNAL"
            assert "object" not in answer["error"]["message"]
            hand.say(extended("odd.items", 2))
            assert (await hand.hear())["params"]["item"] == 1
            assert status_of(await hand.hear()) == "INTERNAL"
            hand.say(request("odd.large", id=3))
            assert status_of(await hand.hear()) == "RESOURCE_EXHAUSTED"
            hand.say(request("odd.lines", id=4))
            assert (await hand.hear())["result"] == {"a": 1}

    run(program())
    assert "odd.result" in caplog.text
    assert "odd.items" in caplog.text
