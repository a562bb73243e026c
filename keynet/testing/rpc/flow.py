"""Checks of back-pressure, and of functions that behave badly: R-50 to R-54."""

from __future__ import annotations

import asyncio

from keynet.rpc.status import Status
from keynet.testing.rpc.calls import same
from keynet.testing.rpc.ends import NAMES, Ends, Scene
from keynet.testing.rpc.probe import Received, forever, numbered
from keynet.testing.rpc.rules import rule
from keynet.testing.rpc.statuses import ended_with, failing

MOST_UNREAD = 8 << 20
"""Bytes of one stream that may be under way while nobody reads them."""
ITEM = 65536
ENDLESS = 8 * MOST_UNREAD
CROWD = 60
"""Streams that stall at once: what is bounded for one alone is not always for all of them."""


async def neighbours_go_on(scene: Scene) -> None:
    """Calls of all kinds work on the same channel, streams of many items too."""
    async with asyncio.timeout(20 * scene.soon):
        asked, given, taken, swapped = await asyncio.gather(
            scene.call("ask", {"text": "beside"}),
            scene.call("give", {"count": 100, "size": 10_000}),
            scene.call("take", items=[numbered(n, 10_000) for n in range(100)]),
            scene.call("swap", items=["a", "b"]),
        )
    assert asked.result == "beside"
    same(given.items, [numbered(n, 10_000) for n in range(100)], "beside a stalled stream")
    assert taken.result == Received(100, 1_000_000, numbered(99, 10_000)), f"{taken.result}"
    same(swapped.items, ["A", "B"], "beside a stalled stream")


@rule("R-50", "readers that stop hold their functions, and nobody else")
async def check_holds_the_function(ends: Ends) -> None:
    for many in (1, CROWD):
        async with ends.joined() as scene:
            await _hold_functions(scene, many)


async def _hold_functions(scene: Scene, many: int) -> None:
    calls = [
        await scene.start("give", {"count": ENDLESS // ITEM, "size": ITEM}) for _ in range(many)
    ]
    await scene.at_rest(lambda: scene.probe.sent)
    unread = scene.probe.sent * ITEM // many
    assert unread <= MOST_UNREAD, f"{unread} bytes of each of {many} were taken that nobody read"
    await neighbours_go_on(scene)
    for number in range(MOST_UNREAD // ITEM + 50):
        item = await calls[0].receive()
        assert item == numbered(number, ITEM), f"item {number} is another one"
    for call in calls:
        call.cancel()
    await scene.stopped("give")


@rule("R-51", "a function that does not read holds its caller, and nobody else")
async def check_holds_the_caller(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.probe.act = forever
        sent = {"take": 0, "swap": 0}

        async def send(name: str) -> None:
            call = await scene.start(name)
            try:
                while sent[name] <= MOST_UNREAD // ITEM:
                    await call.send(numbered(sent[name], ITEM))
                    sent[name] += 1
            finally:
                call.cancel()

        sending = [asyncio.create_task(send(name)) for name in sent]
        await scene.at_rest(lambda: sum(sent.values()))
        for name, count in sent.items():
            assert count * ITEM <= MOST_UNREAD, f"{name}: {count * ITEM} bytes that nobody reads"
        scene.probe.act = None
        await neighbours_go_on(scene)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        for name in sent:
            await scene.stopped(name)


@rule("R-52", "a stalled stream goes on without a loss once it is read")
async def check_goes_on_after_a_stall(ends: Ends) -> None:
    async with ends.joined() as scene:
        may_read = asyncio.Event()
        scene.probe.pace = may_read.wait
        count = 2 * MOST_UNREAD // ITEM
        taking = asyncio.create_task(
            scene.call("take", items=[numbered(n, ITEM) for n in range(count)])
        )
        await asyncio.sleep(2 * ends.soon)
        may_read.set()
        result = (await taking).result
        assert result == Received(count, count * ITEM, numbered(count - 1, ITEM)), f"{result.count}"


@rule("R-53", "a function that stops reading, or never reads, ends its call well")
async def check_lets_functions_stop_reading(ends: Ends) -> None:
    async with ends.joined() as scene:
        for most in (0, 1):
            for items in (["a"] * 3, [numbered(n, ITEM) for n in range(MOST_UNREAD // ITEM)]):
                taken = await scene.call("take", {"most": most}, items=items)
                assert taken.error is None, f"take ended with {taken.error}"
                assert taken.result.count == most, f"take read {taken.result.count} of {most}"
                swapped = await scene.call("swap", {"most": most, "after": 2}, items=items)
                assert swapped.error is None, f"swap ended with {swapped.error}"
                assert len(swapped.items) == most + 2, f"{len(swapped.items)} items came"


@rule("R-54", "functions that raise or hang disturb nobody")
async def check_contains_bad_functions(ends: Ends) -> None:
    async with ends.joined() as scene, ends.quiet_log():
        beside = await scene.start("swap")
        await scene.until(lambda: scene.probe.running["swap"], "a call runs beside")
        scene.probe.act = forever
        hanging = [await scene.start(name) for name in NAMES for _ in range(5)]
        await scene.until(lambda: len(scene.probe.calls) == len(hanging) + 1, "they all hang")
        scene.probe.act = failing(KeyError("a bug"))
        failed = await asyncio.gather(*(scene.call(name) for name in NAMES for _ in range(10)))
        for outcome in failed:
            ended_with(outcome, Status.INTERNAL, "a function with a bug")
        scene.probe.act = None
        await neighbours_go_on(scene)
        assert scene.probe.running.total() == len(hanging) + 1, "calls that hang were ended"
        outcome = await scene.see_out(beside, "swap", items=["still here"])
        assert outcome.items == ["STILL HERE"], f"a call beside them ended with {outcome}"
        for call in hanging:
            call.cancel()
