"""Checks of what calls may take: R-40 to R-44."""

from __future__ import annotations

import asyncio
from collections import Counter

from keynet.rpc.api import MAX_MESSAGE_SIZE, Call, ClientCall
from keynet.rpc.limits import Limits
from keynet.rpc.status import Status
from keynet.testing.rpc.ends import Ends, Scene
from keynet.testing.rpc.probe import forever
from keynet.testing.rpc.rules import rule
from keynet.testing.rpc.statuses import ended_with

SMALL = 65536
"""A message limit that is quickly reached."""
BESIDES = 1024
"""Bytes that the encoding of a message may add to the text in it."""
MANY = 10_000


@rule("R-40", "messages above the server's limit are refused, those below it pass")
async def check_limits_messages(ends: Ends) -> None:
    async with ends.joined(limits=Limits(max_message_size=SMALL)) as scene:
        beside = await scene.start("swap")
        for size, allowed in ((SMALL - BESIDES, True), (SMALL + 1, False), (4 * SMALL, False)):
            text = "x" * size
            outcomes = {
                "a request": await scene.call("ask", {"text": text, "size": 1}),
                "a result": await scene.call("ask", {"size": size}),
                "an item": await scene.call("give", {"count": 1, "size": size}),
                "an item to a function": await scene.call("take", items=["a", text]),
                "an item to a duplex call": await scene.call("swap", items=[text]),
            }
            for what, outcome in outcomes.items():
                if allowed:
                    assert outcome.error is None, f"{what} of {size} bytes: {outcome.error}"
                else:
                    ended_with(outcome, Status.RESOURCE_EXHAUSTED, f"{what} of {size} bytes")
        await _goes_on(scene, beside)


async def _goes_on(scene: Scene, beside: ClientCall) -> None:
    """A duplex call that was open all the time still works."""
    outcome = await scene.see_out(beside, "swap", items=["still here"])
    assert outcome.items == ["STILL HERE"], f"a call beside it ended with {outcome}"


@rule("R-41", "the caller keeps its own limit, both ways")
async def check_limits_messages_at_the_caller(ends: Ends) -> None:
    large = Limits(max_message_size=4 * MAX_MESSAGE_SIZE)
    async with ends.joined(limits=large) as scene:
        beside = await scene.start("swap")
        size = MAX_MESSAGE_SIZE + 1
        outcomes = {
            "a request": await scene.call("ask", {"text": "x" * size, "size": 1}),
            "a result": await scene.call("ask", {"size": size}),
            "an item": await scene.call("give", {"count": 1, "size": size}),
            "an item to a function": await scene.call("take", items=["x" * size]),
        }
        for what, outcome in outcomes.items():
            ended_with(outcome, Status.RESOURCE_EXHAUSTED, f"{what} above the caller's limit")
        await _goes_on(scene, beside)


@rule("R-42", "calls above the limit are refused, and a call that has ended makes room")
async def check_limits_calls(ends: Ends) -> None:
    most = 10
    async with ends.joined(limits=Limits(max_calls_per_peer=most)) as scene:
        scene.probe.act = forever
        held = [await scene.start("give") for _ in range(most)]
        await scene.until(lambda: scene.probe.running["give"] == most, "all of them run")
        for name in ("ask", "give", "take", "swap"):
            outcome = await scene.call(name)
            ended_with(outcome, Status.RESOURCE_EXHAUSTED, f"{name} above the limit")
        scene.probe.act = None
        held.pop().cancel()
        await scene.until(lambda: scene.probe.running["give"] == most - 1, "one has ended")
        assert (await scene.call("ask", {"text": "in"})).result == "in"
        for call in held:
            call.cancel()


@rule("R-43", "10,000 calls at once: the limit's number runs, the others are refused")
async def check_survives_many_calls(ends: Ends) -> None:
    most = 100
    limits = Limits(max_calls=most, max_calls_per_peer=most)
    async with ends.joined(limits=limits) as scene:
        opened = asyncio.Event()
        done: Counter[str] = Counter()

        async def until_opened(call: Call) -> None:
            await opened.wait()

        async def ask(number: int) -> None:
            outcome = await scene.call("ask", {"text": str(number)}, timeout=600)
            done[outcome.status.name] += 1
            assert outcome.error or outcome.result == str(number), "answers were mixed up"

        beside = await scene.start("swap")
        await scene.until(lambda: scene.probe.running["swap"] == 1, "the first one runs")
        scene.probe.act = until_opened
        async with asyncio.TaskGroup() as calls:
            for number in range(MANY):
                calls.create_task(ask(number))
            refused = MANY - (most - 1)
            within = 200 * ends.soon
            await scene.until(lambda: done.total() >= refused, "the rest is refused", within)
            assert scene.probe.running["ask"] == most - 1, f"{scene.probe.running} run"
            opened.set()
        expected = {"OK": most - 1, "RESOURCE_EXHAUSTED": refused}
        assert done == expected, f"they ended {dict(done)}"
        scene.probe.act = None
        await _goes_on(scene, beside)
