"""Checks of what goes along with calls, and of whom they are served to: R-30 to R-36."""

from __future__ import annotations

import asyncio
from typing import Any

from keynet.identity import verify_chain
from keynet.rpc.access import AllowCalls, CallAccess
from keynet.rpc.api import Call, ClientCall, Exchange, Metadata, Proceed, Request, Start
from keynet.rpc.limits import Limits
from keynet.rpc.status import Status, rpc_error
from keynet.testing.rpc.ends import NAMES, Ends
from keynet.testing.rpc.probe import Probe
from keynet.testing.rpc.rules import rule
from keynet.testing.rpc.statuses import ended_with

METADATA = (
    ("trace", "1"),
    ("a.b_c-d9", "all !\"#$%&'()*+,-./:;<=>?@[]^_`{|}~ of it"),
    ("trace", "2"),
    ("empty", ""),
)


def by_key(metadata: Metadata) -> dict[str, list[str]]:
    """The values of each key, in order; the order of the keys means nothing."""
    values: dict[str, list[str]] = {}
    for key, value in metadata:
        values.setdefault(key, []).append(value)
    return values


@rule("R-30", "the caller's metadata reaches the function, repeated keys with all values in order")
async def check_carries_metadata(ends: Ends) -> None:
    async with ends.joined() as scene:
        for name in NAMES:
            await scene.call(name, metadata=METADATA)
            got = scene.probe.calls[-1].metadata
            assert by_key(got) == by_key(METADATA), f"{name} was given {got}"
        await scene.call("ask")
        assert scene.probe.calls[-1].metadata == (), "metadata of another call, or of the binding"


@rule("R-31", "the function's metadata reaches the caller, also when the call fails")
async def check_carries_reply_metadata(ends: Ends) -> None:
    async def reply(call: Call) -> None:
        call.reply_metadata += METADATA

    async def reply_and_fail(call: Call) -> None:
        await reply(call)
        raise rpc_error(Status.ABORTED, "with metadata")

    async with ends.joined() as scene:
        for name in NAMES:
            for act, ending in ((reply, "ended well"), (reply_and_fail, "failed")):
                scene.probe.act = act
                got = (await scene.call(name)).metadata
                assert by_key(got) == by_key(METADATA), f"{name} {ending} with {got}"


@rule("R-32", "interceptors stand around every call, outermost first, at both ends")
async def check_runs_interceptors(ends: Ends) -> None:
    order: list[str] = []

    def sending(mark: str) -> Any:
        async def intercept(request: Request, start: Start) -> ClientCall:
            order.append(mark)
            request.metadata = (*request.metadata, ("by", mark))
            return await start(request)

        return intercept

    def serving(mark: str) -> Any:
        async def intercept(exchange: Exchange, proceed: Proceed) -> Any:
            order.append(mark)
            if ("by", "stop") in exchange.call.metadata:
                raise rpc_error(Status.FAILED_PRECONDITION, "intercepted")
            try:
                return await proceed(exchange)
            finally:
                order.append(f"after {mark}")

        return intercept

    clients = [sending("one"), sending("two")]
    async with ends.joined(client=clients, server=[serving("three"), serving("four")]) as scene:
        for name in NAMES:
            order.clear()
            outcome = await scene.call(name, items=["a"])
            assert outcome.error is None, f"{name} failed: {outcome.error}"
            expected = ["one", "two", "three", "four", "after four", "after three"]
            assert order == expected, f"{name} went through {order}"
            marks = [value for key, value in scene.probe.calls[-1].metadata if key == "by"]
            assert marks == ["one", "two"], f"{name} was given {marks}"
            outcome = await scene.call(name, metadata=(("by", "stop"),))
            ended_with(outcome, Status.FAILED_PRECONDITION, f"{name}, which was intercepted")


@rule("R-33", "the function learns who calls, as the transport has proved it")
async def check_tells_who_calls(ends: Ends) -> None:
    async with ends.joined() as scene:
        for name in NAMES:
            await scene.call(name, metadata=(("node-id", "forged"),))
            call = scene.probe.calls[-1]
            expected = verify_chain(scene.near.identity.chain, None)
            assert call.peer.node_id == expected.node_id, f"{name} was called by {call.peer}"
            assert call.peer.chain == expected.chain, f"{name} was given other certificates"
            assert call.binding == ends.make().name, f"{name} came by {call.binding!r}"


@rule("R-34", "a method is closed to everybody to whom it is not opened, and that at once")
async def check_keeps_access_rules(ends: Ends) -> None:
    access = CallAccess()
    async with ends.joined(access=access) as scene:
        node_id = scene.near.node_id
        for name in (*NAMES, "nothing"):
            outcome = await scene.call(scene.named(name))
            ended_with(outcome, Status.PERMISSION_DENIED, f"{name}, while nothing is open")
        access.allow(AllowCalls(node_id, frozenset({"probe.give"})))
        assert len((await scene.call("give")).items) == 3, "what was opened is not open"
        for name in ("ask", "take", "swap"):
            ended_with(await scene.call(name), Status.PERMISSION_DENIED, f"{name}, beside give")
        ended_with(await scene.call(scene.named("nothing")), Status.UNIMPLEMENTED, "no method")
        access.disallow(node_id)
        ended_with(await scene.call("give"), Status.PERMISSION_DENIED, "give, closed again")
        begun = {call.method.name for call in scene.probe.calls}
        assert begun == {"give"}, f"functions ran that were closed: {begun}"


@rule("R-35", "a public service serves anybody, at a limited rate")
async def check_limits_public_services(ends: Ends) -> None:
    burst = 20
    limits = Limits(public_rate=1.0 / ends.soon, public_burst=burst)
    probe = Probe(public=True)
    async with ends.joined(probe=probe, access=CallAccess(), limits=limits) as scene:
        outcomes = await asyncio.gather(*(scene.call("ask") for _ in range(3 * burst)))
        refused = [outcome for outcome in outcomes if outcome.error is not None]
        assert burst <= len(refused) <= 2 * burst, f"{len(refused)} of {3 * burst} were refused"
        for outcome in refused:
            error = ended_with(outcome, Status.RESOURCE_EXHAUSTED, "a call above the rate")
            assert "again" in error.message, f"when to try again is not said: {error}"
        await asyncio.sleep(2 * ends.soon)
        assert (await scene.call("ask", {"text": "later"})).result == "later", "it stays refused"
