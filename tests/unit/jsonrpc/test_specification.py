"""The letter of JSON-RPC 2.0: every example of its section 7, and what the text besides says."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest

from keynet.identity import PeerIdentity
from keynet.rpc.access import CallAccess
from keynet.rpc.api import Call
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.service import Service
from keynet.testing.clock import run
from tests.unit.jsonrpc.scene import probe, request, served

spec = Service("spec")


@spec.method
async def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


@spec.method
async def sum(a: int, b: int, c: int) -> int:
    return a + b + c


@spec.method
async def get_data() -> tuple[str, int]:
    return ("hello", 5)


@spec.method
async def notify_hello(number: int) -> None:
    return None


class Unqualified(Dispatcher):
    """Takes methods by the specification's names, which belong to no service."""

    def admit(self, name: str, peer: PeerIdentity, **options: Any) -> AbstractContextManager[Call]:
        return super().admit(f"spec.{name}", peer, **options)


def answers_to(text: str) -> list[Any]:
    """What a server says to `text` and the end of the stream; of errors code and id alone."""

    async def exchange() -> list[Any]:
        dispatch = Unqualified([spec], access=CallAccess(anyone=True))
        async with served(dispatch=dispatch) as scene:
            hand = await scene.hand()
            hand.say(text)
            return await hand.hear_all()

    return [plain(answer) for answer in run(exchange())]


def plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return sorted((plain(one) for one in answer), key=repr)
    assert answer.pop("jsonrpc") == "2.0"
    if "error" in answer:
        assert sorted(answer) == ["error", "id"]
        assert isinstance(answer["error"]["message"], str)
        return (answer["error"]["code"], answer["id"])
    assert sorted(answer) == ["id", "result"]
    return answer


def ok(result: Any, id: Any) -> dict[str, Any]:
    return {"result": result, "id": id}


EXAMPLES = {
    "positional": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        [ok(19, 1)],
    ),
    "positional, the other way": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        [ok(-19, 2)],
    ),
    "named": (
        '{"jsonrpc": "2.0", "method": "subtract", '
        '"params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        [ok(19, 3)],
    ),
    "named, the other way": (
        '{"jsonrpc": "2.0", "method": "subtract", '
        '"params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        [ok(19, 4)],
    ),
    "notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', []),
    "notification of no method": ('{"jsonrpc": "2.0", "method": "foobar"}', []),
    "non-existent method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        [(-32601, "1")],
    ),
    "invalid JSON": (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        [(-32700, None)],
    ),
    "invalid request object": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        [(-32600, None)],
    ),
    "batch, invalid JSON": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method"]',
        [(-32700, None)],
    ),
    "empty array": ("[]", [(-32600, None)]),
    "invalid batch, but not empty": ("[1]", [[(-32600, None)]]),
    "invalid batch": ("[1,2,3]", [[(-32600, None)] * 3]),
    "batch": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        '{"foo": "boo"},'
        '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        [[ok(7, "1"), ok(19, "2"), (-32600, None), (-32601, "5"), ok(["hello", 5], "9")]],
    ),
    "batch of notifications": (
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        [],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_answers_the_examples_of_section_7(name: str) -> None:
    text, expected = EXAMPLES[name]
    assert answers_to(text) == [plain_order(one) for one in expected]


def plain_order(expected: Any) -> Any:
    return sorted(expected, key=repr) if isinstance(expected, list) else expected


@pytest.mark.parametrize("id", ["", "a", 0, -7, 2**80, 1.5, None])
def test_gives_the_id_back_as_it_came(id: Any) -> None:
    text = msgspec.json.encode(request("get_data", id=id)).decode()
    assert answers_to(text) == [ok(["hello", 5], id)]


@pytest.mark.parametrize("id", ["true", "[1]", "{}", '"%s"' % ("x" * 2000)])
def test_refuses_ids_of_other_types_and_endless_ones(id: str) -> None:
    text = '{"jsonrpc": "2.0", "method": "get_data", "id": ' + id + "}"
    assert answers_to(text) == [(-32600, None)]


@pytest.mark.parametrize(
    ("text", "code", "id"),
    [
        ('{"jsonrpc": "1.0", "method": "get_data", "id": 1}', -32600, 1),
        ('{"method": "get_data", "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "result": 5, "id": 7}', -32600, 7),
        ('{"jsonrpc": "2.0", "method": "get_data", "params": "bar", "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": "get_data", "params": null, "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [1], "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [1, 2, 3], "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 1, "x": 2}, "id": 1}',
         -32602, 1),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": ["a", "b"], "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "rpc.nothing", "id": 1}', -32601, 1),
        ('{"jsonrpc": "2.0", "method": "rpc.call", "params": {"metod": 1}, "id": 1}', -32602, 1),
        ('"text"', -32600, None),
        ("nul", -32700, None),
        ('{"jsonrpc": "2.0", "method": "get_data", "params": %s, "id": 1}'
         % ("[" * 50_000 + "]" * 50_000), -32700, None),
        ("[" * 50_000, -32700, None),
        (f"[{','.join(['1'] * 101)}]", -32600, None),
    ],
)  # fmt: skip
def test_refuses_what_is_no_request(text: str, code: int, id: Any) -> None:
    assert answers_to(text) == [(code, id)]


def test_takes_bytes_that_are_no_utf8_for_no_json() -> None:
    async def exchange() -> Any:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(b'{"jsonrpc": "2.0", "method": "probe.double", "params": ["\xff"], "id": 1}')
            return await hand.hear()

    assert plain(run(exchange())) == (-32700, None)


def test_tolerates_carriage_returns_and_empty_lines() -> None:
    async def exchange() -> list[Any]:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(
                "", "\r", '{"jsonrpc": "2.0", "method": "probe.double", "params": [4], "id": 1}\r'
            )
            return await hand.hear_all()

    assert [plain(one) for one in run(exchange())] == [ok(8, 1)]


def test_refuses_an_id_that_is_in_use_and_goes_on_with_the_first() -> None:
    async def exchange() -> tuple[Any, Any]:
        async with served() as scene:
            hand = await scene.hand()
            hand.say(request("probe.hang", id="x"), request("probe.double", [1], id="x"))
            refusal = await hand.hear()
            hand.say('{"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": "x"}}')
            return plain(refusal), plain(await hand.hear())

    assert run(exchange()) == ((-32600, "x"), (-32001, "x"))


def test_answers_a_batch_when_its_last_call_has_ended() -> None:
    service = probe()

    async def exchange() -> list[Any]:
        async with served(service) as scene:
            hand = await scene.hand()
            hang = msgspec.json.encode(
                request("rpc.call", {"method": "probe.hang", "timeout": 3}, id=1)
            ).decode()
            hand.say(
                f'[{hang},{{"jsonrpc": "2.0", "method": "probe.double", "params": [1], "id": 2}}]'
            )
            hand.say(request("probe.double", [2], id=3))
            return [plain(await hand.hear()), plain(await hand.hear())]

    assert run(exchange()) == [ok(4, 3), [(-32004, 1), ok(2, 2)]]
