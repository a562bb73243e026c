"""Checks of lost connections, shutting down and closing: R-60 to R-65."""

from __future__ import annotations

import asyncio

from keynet.errors import ConnectError, RpcError
from keynet.rpc.api import Call
from keynet.rpc.status import Status
from keynet.testing.rpc.ends import NAMES, Ends, Outcome, Scene
from keynet.testing.rpc.probe import forever
from keynet.testing.rpc.rules import rule
from keynet.testing.rpc.statuses import ended_with

REASON = "no answer for 15 s: the cable was cut"


async def hanging(scene: Scene) -> dict[str, asyncio.Task[Outcome]]:
    """A call of each kind whose function runs and never ends by itself."""
    scene.probe.act = forever
    calls: dict[str, asyncio.Task[Outcome]] = {
        name: asyncio.create_task(scene.call(name, items=["a"], timeout=600)) for name in NAMES
    }
    await scene.until(lambda: scene.probe.running.total() == len(NAMES), "the functions run")
    scene.probe.act = None
    return calls


@rule("R-60", "a lost connection is UNAVAILABLE with the reason, at once, and ends the functions")
async def check_tells_of_a_lost_connection(ends: Ends) -> None:
    async with ends.joined() as scene:
        calls = await hanging(scene)
        lost_at = scene.now()
        scene.lose(REASON)
        for name, calling in calls.items():
            outcome = await calling
            error = ended_with(outcome, Status.UNAVAILABLE, f"{name} on a lost connection")
            assert REASON in error.message, f"{name} was told only {error.message!r}"
        assert scene.now() - lost_at <= ends.soon, f"that took {scene.now() - lost_at} s"
        for name in NAMES:
            await scene.stopped(name)


@rule("R-61", "after a loss the next call makes itself a new connection")
async def check_calls_again_after_a_loss(ends: Ends) -> None:
    async with ends.joined() as scene:
        for _ in range(3):
            assert (await scene.call("ask", {"text": "here"})).result == "here"
            scene.lose(REASON)
            await scene.until_idle()
        outcomes = await asyncio.gather(*(scene.call("ask") for _ in range(20)))
        failed = [outcome.error for outcome in outcomes if outcome.error]
        assert not failed, f"calls after a loss failed: {failed[0]}"


@rule("R-62", "a peer that cannot be reached is UNAVAILABLE, with the reason")
async def check_tells_why_a_peer_is_not_reached(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.near.refusal = ConnectError(REASON)
        for name in NAMES:
            outcome = await scene.call(name, timeout=10 * ends.soon)
            error = ended_with(outcome, Status.UNAVAILABLE, f"{name} of a peer that is away")
            assert REASON in error.message, f"{name} was told only {error.message!r}"
        scene.near.refusal = None
        await scene.until_idle()
        assert (await scene.call("ask", {"text": "back"})).result == "back"


@rule("R-63", "a server that closes takes no new call, and lets those that run come to their end")
async def check_drains(ends: Ends) -> None:
    async with ends.joined() as scene:
        released = asyncio.Event()

        async def until_released(call: Call) -> None:
            await released.wait()

        scene.probe.act = until_released
        calls = {name: asyncio.create_task(scene.call(name, items=["a"])) for name in NAMES}
        await scene.until(lambda: scene.probe.running.total() == len(NAMES), "the functions run")
        closing = asyncio.create_task(scene.server.aclose(20 * ends.soon))
        await asyncio.sleep(0.1 * ends.soon)
        ended_with(await scene.call("ask"), Status.UNAVAILABLE, "a call of a server that closes")
        assert len(scene.probe.calls) == len(NAMES), "its function ran nevertheless"
        released.set()
        for name, calling in calls.items():
            outcome = await calling
            assert outcome.error is None, f"{name} had time left, but ended with {outcome.error}"
        started = scene.now()
        await closing
        assert scene.now() - started <= ends.soon, "it waited for calls that were over"


@rule("R-64", "calls that outlast the grace end with UNAVAILABLE")
async def check_ends_what_outlasts_the_grace(ends: Ends) -> None:
    async with ends.joined() as scene:
        calls = await hanging(scene)
        grace, started = 3 * ends.soon, scene.now()
        await scene.server.aclose(grace)
        took = scene.now() - started
        assert grace - ends.soon <= took <= grace + ends.soon, f"closing took {took} s"
        for name, calling in calls.items():
            outcome = await calling
            ended_with(outcome, Status.UNAVAILABLE, f"{name} at a server that has closed")
        assert not scene.probe.running.total(), f"still running: {scene.probe.running}"
        await asyncio.gather(scene.server.aclose(), scene.server.aclose())


@rule("R-65", "a channel that closes ends its calls, and closing twice is harmless")
async def check_closes_channels(ends: Ends) -> None:
    async with ends.joined() as scene:
        calls = await hanging(scene)
        await asyncio.gather(scene.channel.aclose(), scene.channel.aclose())
        for name, calling in calls.items():
            outcome = await calling
            ended_with(outcome, Status.CANCELLED, f"{name} on a channel that was closed")
            await scene.stopped(name)
        await scene.channel.aclose()
        outcome = await scene.call("ask")
        assert isinstance(outcome.error, RpcError), "a channel that was closed still makes calls"
