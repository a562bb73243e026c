"""The extension `rpc.`, spoken by hand: streams, credit, cancelling, and who breaks its rules."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from keynet.errors import ClosedByPeer
from keynet.rpc.jsonrpc import Settings
from keynet.rpc.jsonrpc.credit import INITIAL_CREDIT
from keynet.rpc.limits import Limits
from keynet.testing.clock import run
from tests.unit.jsonrpc.scene import Hand, Scene, extended, notice, probe, request, served

LONG = "x" * 1000


def error_of(answer: Any) -> str:
    status: str = answer["error"]["data"]["status"]
    return status


def size_of(message: Any) -> int:
    return len(msgspec.json.encode(message)) + 1


async def items(hand: Hand, count: int) -> list[Any]:
    heard = [await hand.hear() for _ in range(count)]
    assert all(one["method"] == "rpc.item" for one in heard)
    return [one["params"]["item"] for one in heard]


async def still_serves(scene: Scene, hand: Hand) -> None:
    """A neighbour on the same stream, and one on another, are answered at once."""
    for one in (hand, await scene.hand()):
        one.say(request("probe.double", [21], id="beside"))
        async with asyncio.timeout(0.1):
            assert (await one.hear())["result"] == 42


def test_streams_of_the_server_end_with_the_response() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(extended("probe.count", 7, params={"to": 3}))
            assert await items(hand, 3) == ["0", "1", "2"]
            assert await hand.hear() == {"jsonrpc": "2.0", "result": None, "id": 7}

    run(program())


def test_streams_of_the_client_end_with_rpc_end() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(extended("probe.total", 7))
            hand.say(*(notice("item", id=7, item=n) for n in (1, 2, 3)), notice("end", id=7))
            assert await hand.hear() == {"jsonrpc": "2.0", "result": 6, "id": 7}

    run(program())


def test_sends_no_more_than_credit_allows_and_goes_on_with_more() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            params = {"to": 10, "text": LONG}
            hand.say(extended("probe.count", 1, params=params, credit=2500))
            first = [await hand.hear() for _ in range(3)]
            assert sum(map(size_of, first[:2])) < 2500 <= sum(map(size_of, first))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    await hand.hear()
            hand.say(notice("credit", id=1, credit=sum(map(size_of, first)) - 2500 + 1))
            assert await items(hand, 1) == ["3" + LONG]
            hand.say(notice("credit", id=1, credit=1 << 20))
            await items(hand, 6)
            assert (await hand.hear())["result"] is None

    run(program())


def test_a_reader_that_never_reads_stalls_nobody_and_fills_no_memory() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(
                *(extended("probe.count", n, params={"to": 10_000, "text": LONG}) for n in range(5))
            )
            near = scene.near
            await asyncio.sleep(60)
            heard = 0
            hand.say(request("probe.double", [21], id="beside"))
            while (message := await hand.hear()).get("id") != "beside":
                heard += size_of(message)
            assert 5 * INITIAL_CREDIT <= heard <= 5 * (INITIAL_CREDIT + 2000)
            assert near.opened == 1

    run(program())


def test_a_peer_that_reads_nothing_at_all_is_not_read_either() -> None:
    async def program() -> None:
        async with served(limits=Limits(public_rate=1e9)) as scene:
            hand = await scene.hand()
            written = 0
            while not hand.stream.buffered and written < 100 << 20:
                hand.say(*["[1,1,1,1,1,1,1,1]"] * 100)
                written += 1800
                await asyncio.sleep(0)
            assert written < 4 << 20
            assert hand.stream.largest_backlog < 4 << 20  # type: ignore[attr-defined]
            await still_serves(scene, await scene.hand())

    run(program())


@pytest.mark.parametrize(
    ("method", "lines", "status"),
    [
        ("total", [notice("item", id=1, item="no number")], "INVALID_ARGUMENT"),
        ("total", [notice("end", id=1), notice("item", id=1, item=1)], "INVALID_ARGUMENT"),
        ("ignore", [notice("item", id=1, item="y" * 40_000)] * 3, "RESOURCE_EXHAUSTED"),
        ("double", [notice("item", id=1, item=1)], "INVALID_ARGUMENT"),
        ("hang", [notice("cancel", id=1)], "CANCELLED"),
    ],
)
def test_breaking_the_rules_of_a_stream_ends_that_call_alone(
    method: str, lines: list[Any], status: str
) -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(extended(f"probe.{method}", 1), *lines)
            answer = await hand.hear()
            while answer.get("method") == "rpc.credit":
                answer = await hand.hear()
            assert (answer["id"], error_of(answer)) == (1, status)
            await still_serves(scene, hand)
            assert not scene.dispatch.calls

    run(program())


def test_credit_is_bounded_in_all_and_given_back() -> None:
    async def program() -> None:
        async with served(settings=Settings(budget=INITIAL_CREDIT)) as scene:
            hand = await scene.hand()

            async def granted(n: int) -> int:
                hand.say(extended("probe.total", n))
                hand.say(notice("item", id=n, item=1))
                hand.say(*(notice("item", id=n, item=10**4000) for _ in range(10)))
                return (await hand.hear())["params"]["credit"]

            assert await granted(1) > INITIAL_CREDIT
            assert await granted(2) < INITIAL_CREDIT
            hand.say(notice("cancel", id=1))
            assert (await hand.hear())["id"] == 1
            assert await granted(3) > INITIAL_CREDIT

    run(program())


def test_grants_credit_as_the_method_takes_items() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(extended("probe.total", 1), notice("item", id=1, item=1))
            grant = await hand.hear()
            assert grant["method"] == "rpc.credit"
            assert grant["params"]["credit"] > (1 << 20) - INITIAL_CREDIT

    run(program())


@pytest.mark.parametrize(
    "line",
    [
        notice("item", id=1),
        notice("item", id=[], item=1),
        notice("credit", id=1, credit=0),
        notice("credit", id=1, credit=-5),
        notice("credit", id=1, credit=1 << 90),
        notice("cancel"),
        notice("nothing", id=1),
        [notice("cancel", id=1)],
    ],
)
def test_notices_that_mean_nothing_are_complained_of(line: Any) -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(msgspec.json.encode(line))
            complaint = await hand.hear()
            assert complaint["method"] == "rpc.error"
            assert complaint["params"]["code"] in (-32600, -32601, -32602)
            await still_serves(scene, hand)

    run(program())


@pytest.mark.parametrize("verb", ["item", "end", "cancel", "credit"])
def test_notices_about_foreign_and_finished_calls_are_passed_over(verb: str) -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(request("probe.double", [1], id=1))
            assert (await hand.hear())["result"] == 2
            for id in (1, "foreign", None):
                hand.say(notice(verb, id=id, item=1, credit=1))
            await still_serves(scene, hand)

    run(program())


@pytest.mark.parametrize("method", ["probe.count", "probe.total", "probe.shout"])
def test_streaming_methods_need_the_extension_and_an_id(method: str) -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(request(method, {"to": 10**9} if "count" in method else {}, id=1))
            answer = await hand.hear()
            assert (answer["error"]["code"], answer["id"]) == (-32602, 1)
            silent = extended(method)
            del silent["id"]
            hand.say(silent)
            await still_serves(scene, hand)
            assert not scene.dispatch.calls

    run(program())


def test_a_call_of_another_kind_than_the_method_is_refused() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(extended("probe.total", 1, kind="unary"))
            answer = await hand.hear()
            assert "client_stream" in answer["error"]["message"]
            assert error_of(answer) == "INVALID_ARGUMENT"

    run(program())


def test_an_endless_line_is_answered_once_and_ends_the_stream() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            for _ in range(100):
                hand.stream.write(b"x" * 65_536)
            answer = await hand.hear()
            assert (answer["error"]["code"], answer["id"]) == (-32700, None)
            assert error_of(answer) == "RESOURCE_EXHAUSTED"
            with pytest.raises(ClosedByPeer):
                await hand.hear()
            await still_serves(scene, await scene.hand())

    run(program())


def test_more_calls_than_a_stream_may_have_are_refused_at_once() -> None:
    async def program() -> None:
        limits = Limits(max_calls_per_peer=10_000, max_calls=10_000)
        async with served(limits=limits) as scene:
            hand = await scene.hand()
            hand.say(*(request("probe.hang", id=n) for n in range(2000)))
            refused = [await hand.hear() for _ in range(2000 - 1024)]
            assert {error_of(one) for one in refused} == {"RESOURCE_EXHAUSTED"}
            assert [one["id"] for one in refused] == list(range(1024, 2000))
            hand.say(notice("cancel", id=5))
            assert error_of(await hand.hear()) == "CANCELLED"
            await still_serves(scene, hand)

    run(program())


def test_cancelling_reaches_the_function_and_is_answered() -> None:
    told: list[str] = []

    async def program() -> None:
        async with served(probe(told)) as scene:
            hand = await scene.hand()
            hand.say(
                request("probe.hang", id=1), extended("probe.count", 2, params={"to": 1 << 40})
            )
            await asyncio.sleep(0.01)
            assert not told
            hand.say(notice("cancel", id=1), notice("cancel", id=2))
            ids = []
            while len(ids) < 2:
                message = await hand.hear()
                if "id" in message:
                    assert error_of(message) == "CANCELLED"
                    ids.append(message["id"])
            assert ids == [1, 2]

    run(program())
    assert sorted(told) == ["count ended", "hang cancelled"]


def test_an_endless_function_ends_with_its_call_however_much_credit_it_has() -> None:
    told: list[str] = []

    async def program() -> None:
        async with served(probe(told)) as scene:
            hand = await scene.hand()
            hand.say(extended("probe.count", 1, params={"to": 1 << 40}, credit=600))
            await items(hand, 9)
            await asyncio.sleep(1)
            hand.say(notice("credit", id=1, credit=1 << 31), notice("cancel", id=1))
            while "id" not in (message := await hand.hear()):
                assert message["method"] == "rpc.item"
            assert error_of(message) == "CANCELLED"
            await still_serves(scene, hand)
            assert not scene.dispatch.calls

    run(program())
    assert told == ["count ended"]


def test_an_id_is_free_again_once_its_call_is_over() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            for n in range(3):
                hand.say(request("probe.double", [n], id="same"))
                assert (await hand.hear())["result"] == 2 * n

    run(program())


def test_answers_what_runs_when_the_peer_ends_its_side() -> None:
    told: list[str] = []

    async def program() -> None:
        async with served(probe(told)) as scene:
            hand = await scene.hand()
            hand.say(
                request("probe.double", [5], id=1),
                extended("probe.total", 2),
                notice("item", id=2, item=1),
                extended("probe.hang", 3, timeout=5),
            )
            heard = {one["id"]: one for one in await hand.hear_all() if "id" in one}
            assert heard[1]["result"] == 10
            assert error_of(heard[2]) == "CANCELLED"
            assert error_of(heard[3]) == "DEADLINE_EXCEEDED"

    run(program())


def test_a_broken_stream_ends_its_functions() -> None:
    told: list[str] = []

    async def program() -> None:
        async with served(probe(told)) as scene:
            hand = await scene.hand()
            hand.say(request("probe.hang", id=1))
            await asyncio.sleep(0.01)
            scene.near.lose("the path died")
            await asyncio.sleep(0.01)
            assert told == ["hang cancelled"]
            assert not scene.dispatch.calls

    run(program())


def test_notifications_run_and_are_never_answered() -> None:
    told: list[str] = []

    async def program() -> None:
        async with served(probe(told)) as scene:
            hand = await scene.hand()
            for method in ("fail", "nothing", "double"):
                silent = request(f"probe.{method}")
                del silent["id"]
                hand.say(silent)
            assert await hand.hear_all() == []

    run(program())


def test_nothing_of_an_exception_reaches_the_caller() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(request("probe.fail", id=1))
            answer = await hand.hear()
            assert answer["error"]["code"] == -32603
            assert b"secret" not in msgspec.json.encode(answer)
            assert b"Zero" not in msgspec.json.encode(answer)

    run(program())
