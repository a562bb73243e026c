"""Checks of the four kinds of calls, and of what they carry: R-01 to R-07."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from keynet.rpc.api import Binding
from keynet.testing.rpc.ends import Ends, Scene
from keynet.testing.rpc.probe import Received, everything, numbered
from keynet.testing.rpc.rules import rule

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
ENOUGH = 200
"""Items of a stream that is more than one write."""


@rule("R-01", "the factory returns a binding, which dials nothing by itself")
async def check_is_a_binding(ends: Ends) -> None:
    binding = ends.make()
    assert isinstance(binding, Binding), f"{binding!r} lacks a member of Binding"
    assert NAME.fullmatch(binding.name), f"nobody can type the name {binding.name!r}"
    assert ends.make().name == binding.name, "the name changes"
    async with ends.joined() as scene:
        assert scene.near.opened == 0, "`connect` dialled before there was a call"
        assert (await scene.call("ask", {"text": "now"})).result == "now"
        assert scene.near.opened, "the call went round the network that `connect` was given"


@rule("R-02", "values of every sort arrive as they were sent")
async def check_carries_values(ends: Ends) -> None:
    async with ends.joined() as scene:
        sent = everything()
        returned = await scene.client.call(scene.method("mirror"), sent)
        for name in sent["value"].__struct_fields__:
            before, after = getattr(sent["value"], name), getattr(returned, name)
            assert after == before, f"{name}: {after!r} instead of {before!r}"
        assert await scene.client.call(scene.method("ask")) == "", "a default was not used"


@rule("R-03", "the four kinds carry every item, in order, and then the end")
async def check_carries_the_four_kinds(ends: Ends) -> None:
    async with ends.joined() as scene:
        for count in (0, 1, ENOUGH):
            items = [numbered(n, 40) for n in range(count)]
            await _give(scene, count, items)
            await _take(scene, items)
            outcome = await scene.call("swap", items=items)
            same(outcome.items, [item.upper() for item in items], "from a duplex call")


async def _give(scene: Scene, count: int, items: list[str]) -> None:
    async with scene.client.server_stream(
        scene.method("give"), {"count": count, "size": 40}
    ) as stream:
        same([item async for item in stream], items, "from the server's stream")


async def _take(scene: Scene, items: list[str]) -> None:
    async def one_by_one() -> AsyncIterator[str]:
        for item in items:
            yield item

    expected = Received(len(items), 40 * len(items), items[-1] if items else "")
    for source in (items, one_by_one()):
        received = await scene.client.client_stream(scene.method("take"), source)
        assert received == expected, f"of {len(items)} items the function got {received}"


def same(received: list[str], sent: list[str], what: str) -> None:
    """Assert that items arrived exactly; says where they do not."""
    if received == sent:
        return
    pairs = enumerate(zip(received, sent, strict=False))
    at = next((i for i, (one, other) in pairs if one != other), min(len(received), len(sent)))
    raise AssertionError(
        f"{what}: {len(received)} items instead of {len(sent)}; the first difference is at {at}"
    )


@rule("R-04", "a duplex call goes back and forth, and either side may finish first")
async def check_goes_back_and_forth(ends: Ends) -> None:
    async with ends.joined() as scene:
        async with scene.client.duplex(scene.method("swap"), {"after": 5}) as call:
            for n in range(20):
                await call.send(f"ping {n}")
                async with asyncio.timeout(ends.soon):
                    assert await anext(call) == f"PING {n}"
            await call.finish_sending()
            await call.finish_sending()
            same([item async for item in call], [numbered(n, 4) for n in range(5)], "after the end")
        async with scene.client.duplex(scene.method("swap"), {"most": 1}) as call:
            await call.send("only this")
            same([item async for item in call], ["ONLY THIS"], "of a function that ends first")
            async with asyncio.timeout(ends.soon):
                other = asyncio.create_task(asyncio.sleep(0))
                for _ in range(10):
                    await call.send("too late, and harmless")
            assert other.done(), "who sends in vain keeps others from running"


@rule("R-05", "calls run side by side and are never mixed up")
async def check_runs_calls_side_by_side(ends: Ends) -> None:
    async def exchange(scene: Scene, number: int) -> None:
        items = [f"{number}/{n}" for n in range(20)]
        asked, given, taken, swapped = await asyncio.gather(
            scene.call("ask", {"text": f"text {number}"}),
            scene.call("give", {"count": number}),
            scene.call("take", items=items),
            scene.call("swap", items=items),
        )
        assert asked.result == f"text {number}", f"call {number} got {asked.result!r}"
        same(given.items, [numbered(n, 4) for n in range(number)], f"to call {number}")
        assert taken.result.last == items[-1], f"call {number} was {taken.result}"
        same(swapped.items, items, f"to duplex call {number}")

    async with ends.joined() as scene:
        await asyncio.gather(*(exchange(scene, n) for n in range(25)))


@rule("R-06", "the end comes after every item, also to a slow reader")
async def check_keeps_the_last_item(ends: Ends) -> None:
    async with ends.joined() as scene:
        expected = [numbered(n, 5000) for n in range(ENOUGH)]
        call = await scene.start("give", {"count": ENOUGH, "size": 5000})
        await asyncio.sleep(ends.soon)
        outcome = await scene.see_out(call, "give")
        same(outcome.items, expected, "to a reader that came late")

        async def slowly() -> None:
            await asyncio.sleep(ends.soon / 100)

        scene.probe.pace = slowly
        taken = await scene.call("take", items=expected)
        assert taken.result == Received(ENOUGH, 5000 * ENOUGH, expected[-1]), f"{taken.result}"


@rule("R-07", "both nodes serve and call at the same time")
async def check_serves_both_ways(ends: Ends) -> None:
    async with ends.joined() as scene, scene.turned_round() as back:
        there, here = await asyncio.gather(
            scene.call("swap", items=["a", "b"]), back.call("give", {"count": 2})
        )
        same(there.items, ["A", "B"], "one way")
        same(here.items, [numbered(n, 4) for n in range(2)], "the other way")
        ids = scene.probe.calls[-1].peer.node_id, back.probe.calls[-1].peer.node_id
        assert ids == (scene.near.node_id, scene.far.node_id), "the callers were mixed up"
