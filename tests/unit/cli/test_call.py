"""`keynet call` and `keynet services`, against a node in the same process."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from keynet.address import NodeId
from keynet.cli.calling import shown
from keynet.cli.services import _lines
from keynet.cli.stdin import MAX_LINE, json_lines
from keynet.config import Config
from keynet.control import ControlServer
from keynet.control.verbs import verbs
from keynet.errors import ConfigError
from keynet.node import Node
from keynet.rpc.api import Call
from keynet.rpc.own_service import MethodInfo
from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error

from .conftest import Keynet, Outcome

Ask = Callable[..., Awaitable[Outcome]]
Typed = Callable[[bytes], int]
NOBODY = str(NodeId(bytes(32)))


def greeter() -> Service:
    service = Service("greeter")

    @service.method
    async def hello(name: str, call: Call, times: int = 1) -> str:
        """Say hello.

        As often as is asked for."""
        if name == "nobody":
            raise rpc_error(Status.NOT_FOUND, "nobody\x1b[31m is here", b"\0\1")
        return f"hello {name}" * times + "".join(f" {k}={v}" for k, v in call.metadata)

    @service.method
    async def count(to: int) -> AsyncIterator[int]:
        for n in range(to):
            yield n

    @service.method
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([n async for n in numbers])

    @service.method
    async def first(numbers: AsyncIterator[int], start: int = 0) -> AsyncIterator[int]:
        """Adds up, and stops at the first zero."""
        async for n in numbers:
            if not n:
                return
            start += n
            yield start

    @service.method
    async def forever() -> None:
        await asyncio.Event().wait()

    return service


@pytest.fixture
async def node(isolated_state: Path) -> AsyncIterator[Node]:
    config = Config.of(listen="127.0.0.1:0", grace=0.05)
    async with Node(config, services=[greeter()]) as node:
        assert node.state is not None
        control = ControlServer(node.state, verbs(node))
        await control.start()
        yield node
        await control.aclose()


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    """`typed(b"…")` gives a descriptor to read that from."""
    with ExitStack() as files:

        def write(text: bytes) -> int:
            path = tmp_path / "stdin"
            path.write_bytes(text)
            return files.enter_context(path.open("rb")).fileno()

        yield write


@pytest.fixture
def ask(node: Node, keynet: Keynet, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> Ask:
    """`await ask("call", …)` runs the command beside the node, which it is about."""

    async def run(verb: str, *args: str, stdin: str = "", to: str | None = None) -> Outcome:
        given = functools.partial(json_lines, typed(stdin.encode()))
        monkeypatch.setattr("keynet.cli.call.json_lines", given)
        return await asyncio.to_thread(keynet, verb, to or str(node.node_id), *args)

    return run


class TestCall:
    async def test_a_plain_call(self, ask: Ask) -> None:
        params = json.dumps({"name": "you", "times": 2})
        assert await ask("call", "greeter.hello", params) == (0, '"hello youhello you"\n', "")

    async def test_metadata(self, ask: Ask) -> None:
        args = ('{"name": "you"}', "--metadata", "trace=7", "--metadata", "b=c=d")
        assert (await ask("call", "greeter.hello", *args)).out == '"hello you trace=7 b=c=d"\n'

    async def test_streams(self, ask: Ask) -> None:
        assert await ask("call", "greeter.count", '{"to": 3}') == (0, "0\n1\n2\n", "")
        assert (await ask("call", "greeter.total", stdin="1\n\n2\n3")).out == "6\n"
        duplex = await ask("call", "greeter.first", '{"start": 10}', stdin="1\n2\n0\n5\n")
        assert duplex == (0, "11\n13\n", "")
        given = await ask("call", "greeter.total", "--kind", "client_stream", stdin="1\n")
        assert given.out == "1\n"

    async def test_a_failed_call_is_one_line(self, ask: Ask) -> None:
        failed = await ask("call", "greeter.hello", '{"name": "nobody"}')
        assert failed == (1, "", "NOT_FOUND: nobody?[31m is here\n")
        failed = await ask("call", "greeter.hello", '{"name": "nobody"}', "--json")
        assert json.loads(failed.err) == {
            "status": "NOT_FOUND",
            "message": "nobody?[31m is here",
            "details": "AAE=",
        }

    @pytest.mark.parametrize(
        ("args", "complaint"),
        [
            (["greeter.hello", "{}"], "INVALID_ARGUMENT: "),
            (["greeter.nothing"], "UNIMPLEMENTED: you may call no greeter.nothing there, but gr"),
            (["greeter.nothing", "--kind", "unary"], "UNIMPLEMENTED: there is no method"),
            (["greeter.hello", "{}", "--kind", "duplex"], "INVALID_ARGUMENT: "),
            (["greeter.forever", "--timeout", "0.1"], "DEADLINE_EXCEEDED: "),
        ],
    )
    async def test_what_the_peer_refuses(self, ask: Ask, args: list[str], complaint: str) -> None:
        failed = await ask("call", *args)
        assert (failed.status, failed.out) == (1, "")
        assert failed.err.startswith(complaint)
        assert failed.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("args", "complaint"),
        [
            (["greeter.hello", "{"], "the parameters are not JSON"),
            (["greeter.hello", "[1]"], "the parameters are a JSON object"),
            (["greeter.hello", "--timeout", "-1"], "--timeout takes a number of seconds"),
            (["greeter.hello", "--metadata", "x"], "--metadata takes KEY=VALUE, not 'x'"),
            (["greeter.hello", "--metadata", "X=1"], "keynet: "),
            (["hello", "--kind", "unary"], "a method is named service.method, not 'hello'"),
        ],
    )
    async def test_what_is_wrong_here(self, ask: Ask, args: list[str], complaint: str) -> None:
        failed = await ask("call", *args)
        assert (failed.status, failed.out) == (2, "")
        assert failed.err.startswith("keynet: ")
        assert complaint in failed.err

    @pytest.mark.parametrize("method", ["greeter.total", "greeter.first"])
    async def test_items_that_are_not_json(self, ask: Ask, method: str) -> None:
        failed = await ask("call", method, stdin="1\nx\n")
        assert failed.status == 2
        assert "line 2 of standard input is not JSON" in failed.err

    async def test_a_peer_that_nobody_knows(self, ask: Ask) -> None:
        failed = await ask("call", "greeter.hello", to=NOBODY)
        assert failed.status == 1
        assert failed.err.startswith("UNAVAILABLE: no address is known for")

    async def test_a_peer_that_goes_away_says_why(
        self, ask: Ask, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node.network, "why", lambda node_id: "no pong for 15 s")
        calling = asyncio.ensure_future(ask("call", "greeter.forever", "--kind", "unary"))
        while not node.dispatcher.calls:  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.001)
        for stream in list(node.network._own_streams):
            stream.cancel()
        failed = await calling
        assert failed.status == 1
        assert failed.err.startswith("UNAVAILABLE: ")
        assert failed.err.endswith("(no pong for 15 s)\n")

    def test_no_node_is_running(self, keynet: Keynet) -> None:
        failed = keynet("call", NOBODY, "greeter.hello")
        assert failed.status == 1
        assert "no node is running" in failed.err


class TestServices:
    async def test_for_people(self, ask: Ask) -> None:
        status, out, err = await ask("services")
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert "greeter.count(to: integer) -> stream of integer" in lines
        assert "greeter.hello(name: string, times: integer = 1) -> string" in lines
        assert "    As often as is asked for." in lines
        assert "greeter.total(stream of integer) -> integer" in lines
        assert any(line.startswith("greeter.first(start: integer = 0, stream") for line in lines)
        assert any(line.startswith("keynet.ping(") for line in lines)

    async def test_as_json(self, ask: Ask) -> None:
        found = json.loads((await ask("services", "--json")).out)
        assert [service["name"] for service in found] == ["greeter", "keynet", "signalling"]
        methods = {method["name"]: method for method in found[0]["methods"]}
        assert methods["greeter.first"]["kind"] == "duplex"

    async def test_of_a_peer_that_nobody_knows(self, ask: Ask) -> None:
        assert (await ask("services", to=NOBODY)).status == 1

    @pytest.mark.parametrize(
        "schema",
        [
            {},
            {"$ref": 5},
            {"$ref": "#/$defs/A", "$defs": 7},
            {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": 1, "b": {"anyOf": 2}}}}},
            {"properties": [1]},
            {"properties": {"a\x1b[2J": {"anyOf": [{"anyOf": [{"anyOf": [{"anyOf": []}]}]}]}}},
            {"type": "array", "items": {"type": "array", "items": "x"}},
            {"type": ["a", "\n"]},
        ],
    )
    def test_whatever_a_peer_says_is_one_safe_line(self, schema: dict[str, Any]) -> None:
        method = MethodInfo("a.b\x9b", "duplex", "two\nlines\x1b", schema, schema, schema)
        lines = list(_lines(method))
        assert len(lines) == 3
        assert all(line.isprintable() for line in lines)


class TestOutput:
    @pytest.mark.parametrize("value", ["é 漢字", {"a": [1, None, True]}, 1.5])
    def test_stays_readable(self, value: Any) -> None:
        assert shown(value) == json.dumps(value, ensure_ascii=False)

    @pytest.mark.parametrize("text", ["\x1b[2J", "\x9b1m", "\u202e", "\n", "\x7f", "\u2028"])
    def test_is_safe_for_terminals(self, text: str) -> None:
        assert shown(text).isprintable()
        assert json.loads(shown(text)) == text


class TestStandardInput:
    @pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
    async def test_one_value_a_line(self, typed: Typed, end: bytes) -> None:
        source = typed(b'1\n\n  {"a": [2]}\r\n"' + b"x" * 200_000 + b'"' + end)
        assert [value async for value in json_lines(source)] == [1, {"a": [2]}, "x" * 200_000]

    async def test_values_come_as_they_are_typed(self) -> None:
        reading, writing = os.pipe()
        values = json_lines(reading)
        for number in (b"1", b"2"):
            os.write(writing, number + b"\n")
            assert await anext(values) == int(number)
        os.close(writing)
        with pytest.raises(StopAsyncIteration):
            await anext(values)
        os.close(reading)

    async def test_a_line_that_is_too_long(self, typed: Typed) -> None:
        with pytest.raises(ConfigError, match="line 1 of standard input has more than"):
            await anext(json_lines(typed(b" " * (MAX_LINE + 100_000))))

    async def test_deep_nesting(self, typed: Typed) -> None:
        with pytest.raises(ConfigError, match="is not JSON"):
            await anext(json_lines(typed(b"[" * 100_000 + b"\n")))
