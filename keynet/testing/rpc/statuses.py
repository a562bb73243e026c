"""Checks of how calls end, and what is said about it: R-10 to R-17."""

from __future__ import annotations

import asyncio

from keynet.errors import RpcError
from keynet.rpc.api import Call
from keynet.rpc.method import Kind, untyped
from keynet.rpc.status import MAX_DETAILS, Status, rpc_error
from keynet.testing.rpc.ends import KINDS, NAMES, Ends, Outcome
from keynet.testing.rpc.probe import Act
from keynet.testing.rpc.rules import rule

SECRET = "the password is hunter2"


def failing(error: Exception) -> Act:
    """What a function does first, to fail so."""

    async def fail(call: Call) -> None:
        raise error

    return fail


def ended_with(outcome: Outcome, status: Status, what: str) -> RpcError:
    """Assert that a call failed so; returns the error."""
    assert outcome.error is not None, f"{what} went well: {outcome.values}"
    got = Status(outcome.error.status)
    assert got is status, f"{what} ended with {got.name} ({outcome.error}), not {status.name}"
    return outcome.error


@rule("R-10", "an unknown method is UNIMPLEMENTED")
async def check_refuses_unknown_methods(ends: Ends) -> None:
    async with ends.joined() as scene:
        for name in ("probe.nothing", "nobody.ask", "probe.v2.ask"):
            for kind in Kind:
                outcome = await scene.call(untyped(name, kind))
                ended_with(outcome, Status.UNIMPLEMENTED, f"{kind.value} call of {name}")
        assert (await scene.call("ask", {"text": "and now"})).result == "and now"


@rule(
    "R-11", "parameters and items of the wrong type are INVALID_ARGUMENT, by name, and not quoted"
)
async def check_refuses_wrong_types(ends: Ends) -> None:
    wrong: dict[str, dict[str, object]] = {
        "text": {"text": 5},
        "size": {"text": "", "size": SECRET},
        "colour": {"text": "", "colour": SECRET},
    }
    async with ends.joined() as scene:
        for name, params in wrong.items():
            outcome = await scene.call(untyped("probe.ask", Kind.UNARY), params)
            error = ended_with(outcome, Status.INVALID_ARGUMENT, f"a wrong {name}")
            assert name in error.message, f"which parameter is wrong is not said: {error}"
            assert SECRET not in error.message, f"the value is quoted: {error}"
        assert not scene.probe.calls, "the function ran nevertheless"
        for name, kind in (("probe.take", Kind.CLIENT_STREAM), ("probe.swap", Kind.DUPLEX)):
            outcome = await scene.call(untyped(name, kind), items=["well", {"not": SECRET}])
            error = ended_with(outcome, Status.INVALID_ARGUMENT, f"a wrong item of {name}")
            assert SECRET not in error.message, f"the item is quoted: {error}"


@rule("R-12", "every status reaches the caller with message and details, whatever the kind")
async def check_carries_every_status(ends: Ends) -> None:
    async with ends.joined() as scene:
        for status in Status:
            if status is Status.OK:
                continue
            message = f"as it happened: {status.name} \u2713 100%"
            details = bytes(range(256)) + bytes([status])

            scene.probe.act = failing(rpc_error(status, message, details))
            for name in NAMES:
                error = ended_with(await scene.call(name), status, f"{name} told to fail")
                assert error.message == message, f"the message became {error.message!r}"
                assert error.details == details, f"of {status.name} the details were lost"


@rule("R-13", "the largest details arrive whole")
async def check_carries_large_details(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.probe.act = failing(rpc_error(Status.ABORTED, "m" * 1000, bytes(MAX_DETAILS)))
        error = ended_with(await scene.call("ask"), Status.ABORTED, "a call with large details")
        assert len(error.details) == MAX_DETAILS, f"{len(error.details)} bytes of {MAX_DETAILS}"
        assert 0 < len(error.message) <= 300, f"a message of {len(error.message)} characters"


@rule("R-14", "what a function raises does not leak to the caller")
async def check_leaks_no_exception(ends: Ends) -> None:
    async with ends.joined() as scene, ends.quiet_log():
        scene.probe.act = failing(ValueError(SECRET))
        for name in NAMES:
            error = ended_with(await scene.call(name), Status.INTERNAL, f"{name} that raises")
            shown = f"{error.message} {error.details!r}"
            leaked = [word for word in (SECRET, "ValueError", "Traceback", ".py") if word in shown]
            assert not leaked, f"the caller reads {error.message!r}"


@rule("R-15", "items that were sent before a failure arrive, and then the failure")
async def check_keeps_items_before_a_failure(ends: Ends) -> None:
    async with ends.joined() as scene:
        scene.probe.fail_after = rpc_error(Status.DATA_LOSS, "the well is dry")
        for name, items in (("give", []), ("swap", ["a", "b", "c"])):
            outcome = await scene.call(name, items=items)
            ended_with(outcome, Status.DATA_LOSS, f"{name} that fails at its end")
            assert len(outcome.items) == 3, f"{name}: {len(outcome.items)} of 3 items came"


@rule("R-16", "a result that cannot be encoded is INTERNAL, and harms no other call")
async def check_survives_wrong_results(ends: Ends) -> None:
    async with ends.joined() as scene, ends.quiet_log():
        beside = asyncio.create_task(scene.call("give", {"count": 100}))
        for name in ("answer_wrongly", "give_wrongly"):
            error = ended_with(await scene.call(name), Status.INTERNAL, name)
            assert "Unspeakable" not in error.message, f"the caller reads {error.message!r}"
        assert len((await beside).items) == 100, "a call beside it was disturbed"


@rule("R-17", "a call of another kind than the method's is INVALID_ARGUMENT, and runs nothing")
async def check_refuses_wrong_kinds(ends: Ends) -> None:
    async with ends.joined() as scene:
        for name, right in KINDS.items():
            for wrong in set(Kind) - {right}:
                outcome = await scene.call(untyped(f"probe.{name}", wrong))
                what = f"a {wrong.value} call of a {right.value} method"
                ended_with(outcome, Status.INVALID_ARGUMENT, what)
        assert not scene.probe.calls, "a function ran nevertheless"
