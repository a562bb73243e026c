"""A program that has jsonrpcclient and a socket, and nothing of keynet, makes unary calls."""

from __future__ import annotations

import asyncio
import json

from jsonrpcclient import Error, Ok, notification_json, parse, parse_json, request, request_json

from keynet.testing.clock import run
from tests.unit.jsonrpc.scene import Hand, served


async def ask(hand: Hand, text: str) -> object:
    hand.stream.write(text.encode() + b"\n")
    return parse(await hand.hear())


def test_unary_calls_by_name_and_by_position() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            named = request_json("probe.double", params={"number": 4, "times": 2}, id=1)
            assert await ask(hand, named) == Ok(16, 1)
            assert await ask(hand, request_json("probe.double", params=(4,), id="a")) == Ok(8, "a")

    run(program())


def test_errors_notifications_and_batches() -> None:
    async def program() -> None:
        async with served() as scene:
            hand = await scene.hand()
            failure = await ask(hand, request_json("probe.nothing", id=1))
            assert isinstance(failure, Error)
            assert failure.code == -32601
            hand.stream.write(notification_json("probe.double", params=(1,)).encode() + b"\n")
            batch = json.dumps([request("probe.double", (n,), id=n) for n in range(3)])
            answers = await ask(hand, batch)
            assert list(answers) == [Ok(0, 0), Ok(2, 1), Ok(4, 2)]  # type: ignore[call-overload]
            assert parse_json('{"jsonrpc": "2.0", "result": 1, "id": 1}') == Ok(1, 1)
            await asyncio.sleep(1)

    run(program())
