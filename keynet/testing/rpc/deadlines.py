"""Checks of deadlines and cancellation: R-20 to R-27."""

from __future__ import annotations

import asyncio
from functools import partial

from keynet.errors import RpcError
from keynet.rpc.api import UNARY_TIMEOUT, Call, ClientCall
from keynet.rpc.limits import Limits
from keynet.rpc.status import Status
from keynet.testing.rpc.ends import NAMES, Ends, Outcome, Scene
from keynet.testing.rpc.probe import forever, numbered
from keynet.testing.rpc.rules import rule
from keynet.testing.rpc.statuses import ended_with


@rule("R-20", "a unary call without a timeout has 15 s, and a stream has no limit")
async def check_has_a_default_timeout(ends: Ends) -> None:
    async with ends.joined() as scene:
        remaining: dict[str, float | None] = {}

        async def look(call: Call) -> None:
            remaining[call.method.name] = call.remaining(scene.now())

        def check_unary() -> None:
            left = remaining.pop("ask")
            assert left is not None, "a unary call has no deadline"
            assert UNARY_TIMEOUT - ends.soon <= left <= UNARY_TIMEOUT, f"a unary call has {left} s"

        scene.probe.act = look
        await scene.client.call(scene.method("ask"))
        check_unary()
        for name in NAMES:
            await scene.call(name)
        check_unary()
        assert not any(remaining.values()), f"streams have a limit: {remaining}"


@rule("R-21", "a unary call that nobody answers ends after 15 s", virtual_time=True)
async def check_ends_by_default(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.probe.act = forever
        started = scene.now()
        try:
            await scene.client.call(scene.method("ask"))
        except RpcError as error:
            ended_with(Outcome(error=error), Status.DEADLINE_EXCEEDED, "a unary call that hangs")
        took = scene.now() - started
        assert abs(took - UNARY_TIMEOUT) <= ends.soon, f"it took {took} s"
        scene.probe.act = _a_minute
        assert len((await scene.call("give")).items) == 3, "a stream ended by itself"


async def _a_minute(call: Call) -> None:
    await asyncio.sleep(60)


@rule("R-22", "the caller's timeout reaches the function, and holds at both ends")
async def check_keeps_the_callers_timeout(ends: Ends) -> None:
    async with ends.joined() as scene:
        await _hang(scene, asked=3 * ends.soon, expected=3 * ends.soon)
        for name in NAMES:
            call = next(call for call in scene.probe.calls if call.method.name == name)
            assert call.deadline is not None, f"the caller's timeout of {name} was not sent along"
            late = scene.now() - call.deadline
            assert abs(late) <= 2 * ends.soon, f"{name} had its deadline {late} s ago"


@rule("R-23", "the server's own maximum holds when it is lower")
async def check_keeps_the_servers_maximum(ends: Ends) -> None:
    maximum = 3 * ends.soon
    limits = Limits(max_unary_timeout=maximum, max_stream_timeout=maximum)
    async with ends.joined(limits=limits) as scene:
        await _hang(scene, asked=100 * maximum, expected=maximum)


async def _hang(scene: Scene, *, asked: float, expected: float) -> None:
    """Call functions that never end: calls and functions are over after `expected` seconds."""

    async def call(name: str) -> None:
        started = scene.now()
        outcome = await scene.call(name, timeout=asked, items=["a"])
        ended_with(outcome, Status.DEADLINE_EXCEEDED, f"{name} that hangs")
        took = scene.now() - started
        assert abs(took - expected) <= scene.soon, f"{name} took {took} s instead of {expected}"
        await scene.stopped(name)

    scene.probe.act = forever
    await asyncio.gather(*(call(name) for name in NAMES))


@rule("R-24", "a cancellation reaches the function within one round trip, and no other call")
async def check_cancels_the_function(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.probe.act = forever
        beside = [await scene.start(name) for name in NAMES]
        await scene.until(lambda: len(scene.probe.calls) == len(NAMES), "the functions run")
        for name in NAMES:
            call = await scene.start(name)
            await scene.until(partial(_run, scene, name, 2), f"{name} runs")
            call.cancel()
            await scene.stopped(name)
            ended_with(await scene.see_out(call, name), Status.CANCELLED, f"{name}, cancelled")
        assert scene.probe.running.total() == len(NAMES), "calls beside them were cancelled too"
        for call in beside:
            call.cancel()


def _run(scene: Scene, name: str, count: int) -> bool:
    return scene.probe.running[name] == count


@rule("R-25", "a call that its caller's task abandons is cancelled at the peer")
async def check_cancels_what_is_abandoned(ends: Ends) -> None:
    async with ends.joined() as scene:
        waiting = asyncio.create_task(_wait_for_ever(scene))
        await scene.until(lambda: scene.probe.running["ask"], "ask runs")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await scene.stopped("ask")
        for name in ("give", "swap"):
            await _leave_early(scene, name)
            await scene.stopped(name)


async def _wait_for_ever(scene: Scene) -> None:
    scene.probe.act = forever
    try:
        await scene.client.call(scene.method("ask"))
    finally:
        scene.probe.act = None


async def _leave_early(scene: Scene, name: str) -> None:
    """Take one item of an endless stream, and leave the context."""
    if name == "give":
        async with scene.client.server_stream(scene.method("give"), {"count": 10**9}) as stream:
            assert await anext(stream) == numbered(0, 4)
        return
    async with scene.client.duplex(scene.method("swap")) as call:
        await call.send("a")
        assert await anext(call) == "A"


@rule("R-26", "a call may be cancelled at any moment, and twice")
async def check_cancels_at_any_moment(ends: Ends) -> None:
    async with ends.joined() as scene:
        for name in NAMES:
            for moment in range(12):
                calling = asyncio.create_task(scene.call(name, items=["a", "b"]))
                for _ in range(moment):
                    await asyncio.sleep(0)
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)
            call = await scene.start(name)
            call.cancel()
            call.cancel()
            ended_with(await scene.see_out(call, name), Status.CANCELLED, f"{name}, cancelled")
            outcome = await scene.call(name)
            assert outcome.error is None, f"{name} after many cancelled ones: {outcome.error}"
            await scene.until(lambda: not scene.probe.running.total(), "all functions have ended")


@rule("R-27", "waiting for an item may be cancelled without losing one")
async def check_receives_cancellably(ends: Ends) -> None:
    async with ends.joined() as scene:
        call = await scene.start("swap")
        received: list[str] = []
        for number in range(30):
            await call.send(f"item {number}")
            waiting = asyncio.create_task(_received(call, received))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await call.finish_sending()
        rest = await scene.see_out(call, "swap", sending=False)
        expected = [f"ITEM {number}" for number in range(30)]
        assert received + rest.items == expected, f"{len(received + rest.items)} items of 30 came"


async def _received(call: ClientCall, received: list[str]) -> None:
    received.append(await call.receive())
