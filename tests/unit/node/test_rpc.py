"""Calls between nodes, and what a node serves: the whole path over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

import keynet
from keynet.address import NodeId
from keynet.config.values import AllowCalls
from keynet.errors import ConfigError, PluginNotFound, RpcError
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.api import Call, Exchange, Proceed
from keynet.rpc.limits import Limits
from keynet.rpc.own_service import MethodInfo, ServiceInfo
from keynet.rpc.service import Service
from keynet.rpc.status import Status

from .conftest import at, settings

Two = tuple[Node, Node]


def sums() -> Service:
    """One method of each kind."""
    service = Service("sums")

    @service.method
    async def add(a: int, b: int = 1) -> int:
        """The sum of two numbers."""
        return a + b

    @service.method
    async def count(to: int) -> AsyncIterator[int]:
        for n in range(to):
            yield n

    @service.method
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([n async for n in numbers])

    @service.method
    async def running(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        so_far = 0
        async for n in numbers:
            so_far += n
            yield so_far

    @service.method
    async def who(call: Call) -> str:
        return f"{call.peer.node_id} over {call.binding}"

    @service.method
    async def forever() -> None:
        await asyncio.Event().wait()

    return service


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """A node that serves `sums`, and one that may call it."""
    client = Identity.generate()
    served = settings(allow_call=[f"{client.node_id}=sums"], grace=0.05)
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(
            Node(served, identity=Identity.generate(), services=[sums()])
        )
        front = Node(settings(peer=[at(behind)]), identity=client)
        yield behind, await stack.enter_async_context(front)


@contextmanager
def ends_with(status: Status, words: str = "") -> Iterator[None]:
    with pytest.raises(RpcError) as caught:
        yield
    assert Status(caught.value.status) is status, caught.value.message
    assert words in caught.value.message


async def test_every_kind(two: Two) -> None:
    behind, front = two
    client = front.client(behind.node_id)
    assert await client.call("sums.add", {"a": 2, "b": 3}) == 5
    assert [n async for n in client.server_stream("sums.count", {"to": 3})] == [0, 1, 2]
    assert await client.client_stream("sums.total", [1, 2, 3]) == 6
    async with client.duplex("sums.running") as call:
        for n in (1, 2):
            await call.send(n)
        await call.finish_sending()
        assert [n async for n in call] == [1, 3]
    assert await client.call("sums.who") == f"{front.node_id} over jsonrpc"
    assert behind.dispatcher.admitted == {"jsonrpc": 5}
    assert behind.dispatcher.calls == 0


async def test_the_node_calls_itself(two: Two) -> None:
    behind, _ = two
    mine = behind.client(behind.node_id)
    assert await mine.call("sums.who") == f"{behind.node_id} over jsonrpc"
    assert await mine.call("sums.add", {"a": 1}) == 2


async def test_who_may_call_can_be_changed_at_any_time(two: Two) -> None:
    behind, front = two
    client = front.client(behind.node_id)
    behind.calls.disallow(front.node_id)
    with ends_with(Status.PERMISSION_DENIED):
        await client.call("sums.add", {"a": 1})
    behind.calls.allow(AllowCalls.parse(f"{front.node_id}=sums.add"))
    assert await client.call("sums.add", {"a": 1}) == 2
    with ends_with(Status.PERMISSION_DENIED):
        await client.call("sums.who")
    assert behind.dispatcher.refused == {"jsonrpc": 2}


async def test_services_can_be_added_while_it_runs(two: Two) -> None:
    behind, front = two
    late = Service("late", public=True)

    @late.method
    async def hello() -> str:
        return "better than never"

    client = front.client(behind.node_id)
    with ends_with(Status.UNIMPLEMENTED):
        await client.call("late.hello")
    behind.serve(late)
    assert await client.call("late.hello") == "better than never"
    with pytest.raises(ConfigError, match="late is served already"):
        behind.serve(late)


async def test_interceptors_and_limits_are_the_nodes() -> None:
    async def shout(exchange: Exchange, proceed: Proceed) -> object:
        return (await proceed(exchange)).payload.upper()

    identity = Identity.generate()
    limits = Limits(max_message_size=1000)
    node = Node(settings(), identity=identity, interceptors=[shout], limits=limits)
    async with node:
        mine = node.client(node.node_id)
        assert await mine.call("keynet.ping", {"payload": "aGk="}) == "SEk="
        with ends_with(Status.RESOURCE_EXHAUSTED):
            await mine.call("keynet.ping", {"payload": "a" * 2000})


async def test_a_client_has_its_own_interceptors(two: Two) -> None:
    behind, front = two
    seen: list[str] = []

    async def note(request, start):  # type: ignore[no-untyped-def]
        seen.append(request.method.full_name)
        return await start(request)

    client = front.client(behind.node_id, interceptors=[note])
    await client.call("keynet.ping")
    await front.client(behind.node_id).call("keynet.ping")
    assert seen == ["keynet.ping"]


class TestEndings:
    async def test_calls_have_the_grace_and_then_end(self, two: Two) -> None:
        behind, front = two
        client = front.client(behind.node_id)
        hanging = asyncio.ensure_future(client.call("sums.forever", timeout=30))
        while not behind.dispatcher.calls:  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.001)
        await behind.aclose()
        with ends_with(Status.UNAVAILABLE):
            await hanging

    async def test_a_nodes_own_calls_end_with_it(self, two: Two) -> None:
        behind, front = two
        client = front.client(behind.node_id)
        hanging = asyncio.ensure_future(client.call("sums.forever", timeout=30))
        while not behind.dispatcher.calls:  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.001)
        await front.aclose()
        with ends_with(Status.CANCELLED):
            await hanging
        with ends_with(Status.UNAVAILABLE, "this node is closed"):
            await client.call("sums.add", {"a": 1})

    async def test_a_closed_client_leaves_the_channel_to_the_others(self, two: Two) -> None:
        behind, front = two
        one, other = front.client(behind.node_id), front.client(behind.node_id)
        hanging = asyncio.ensure_future(one.call("sums.forever", timeout=30))
        while not behind.dispatcher.calls:  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.001)
        await one.aclose()
        with ends_with(Status.CANCELLED):
            await hanging
        with ends_with(Status.CANCELLED, "closed"):
            await one.call("keynet.ping")
        assert await other.call("sums.add", {"a": 1}) == 2
        assert behind.serving.streams == 1

    async def test_a_peer_that_is_not_there_is_unavailable_and_says_why(self) -> None:
        async with Node(settings(), identity=Identity.generate()) as node:
            nobody = NodeId(bytes(32))
            with ends_with(Status.UNAVAILABLE, "no address is known"):
                await node.client(nobody).call("keynet.ping")
            why = node.network.why(nobody)
            assert why is not None
            assert "no address is known" in why


class TestOwnService:
    async def test_ping(self, two: Two) -> None:
        behind, front = two
        pong = await front.client(behind.node_id).call("keynet.ping", {"payload": "aGk="})
        assert pong == {
            "payload": "aGk=",
            "node_id": str(behind.node_id),
            "version": keynet.__version__,
        }

    async def test_services_are_those_that_the_caller_may_call(self, two: Two) -> None:
        behind, front = two
        service = next(one for one in behind.dispatcher.services if one.name == "keynet")
        client = front.client(behind.node_id)

        async def names() -> list[str]:
            found = await client.call(service["services"])
            assert all(isinstance(one, ServiceInfo) for one in found)
            return [method.name for one in found for method in one.methods]

        own = ["keynet.ping", "keynet.services", "signalling.deliver"]
        assert await names() == [*own, *(f"sums.{m.name}" for m in sorted_methods())]
        behind.calls.disallow(front.node_id)
        assert await names() == own
        behind.calls.allow(AllowCalls.parse(f"{front.node_id}=sums.add"))
        assert await names() == [*own, "sums.add"]

    async def test_methods_are_described(self, two: Two) -> None:
        behind, front = two
        found = await front.client(behind.node_id).call("keynet.services")
        methods = {method["name"]: method for one in found for method in one["methods"]}
        add = MethodInfo(**methods["sums.add"])
        assert (add.kind, add.doc) == ("unary", "The sum of two numbers.")
        assert "integer" in str(add.params)
        assert "'b'" in str(add.params)
        assert add.item is None
        assert add.result == {"type": "integer"}
        assert methods["sums.running"]["kind"] == "duplex"
        assert methods["sums.running"]["item"] == {"type": "integer"}


def sorted_methods() -> list:  # type: ignore[type-arg]
    return sorted(sums(), key=lambda method: method.name)


class TestBindings:
    async def test_are_chosen_by_name(self, two: Two) -> None:
        _, front = two
        with pytest.raises(ConfigError, match="no RPC binding 'grpc', but jsonrpc"):
            front.client(front.node_id, "grpc")
        with pytest.raises(PluginNotFound, match="offers the rpc 'gopher'"):
            await Node(settings(rpc="gopher"), identity=Identity.generate()).start()

    @pytest.mark.parametrize(
        ("option", "complaint"),
        [
            ("colour=blue", "has no option 'colour'"),
            ("window=wide", "option 'window' of 'jsonrpc' takes a value of type int"),
            ("window=1", "a window is"),
        ],
    )
    async def test_options_that_they_refuse(self, option: str, complaint: str) -> None:
        node = Node(settings(rpc_option=[option]), identity=Identity.generate())
        with pytest.raises(ConfigError, match=complaint):
            await node.start()

    async def test_options_are_theirs(self) -> None:
        given = settings(rpc_option=["max_message_size=1000"])
        async with Node(given, identity=Identity.generate()) as node:
            with ends_with(Status.RESOURCE_EXHAUSTED):
                await node.client(node.node_id).call("keynet.ping", {"payload": "a" * 2000})

    async def test_the_chosen_one_runs_beside_jsonrpc(self) -> None:
        pytest.importorskip("grpc")
        identity = Identity.generate()
        config = settings(rpc="grpc", allow_call=[str(identity.node_id)])
        async with AsyncExitStack() as stack:
            behind = await stack.enter_async_context(
                Node(config, identity=Identity.generate(), services=[sums()])
            )
            front = await stack.enter_async_context(
                Node(settings(rpc="grpc", peer=[at(behind)]), identity=identity)
            )
            assert list(behind.rpc.servers) == ["grpc", "jsonrpc"]
            for binding in ("grpc", "jsonrpc"):
                client = front.client(behind.node_id, binding)
                assert await client.call("sums.who") == f"{front.node_id} over {binding}"
                mine = behind.client(behind.node_id, binding)
                assert await mine.call("sums.who") == f"{behind.node_id} over {binding}"
            default = await front.client(behind.node_id).call("sums.who")
            assert default.endswith("over grpc"), "the chosen one, when none is named"


async def test_after_a_rotation_the_node_is_still_its_own_owner(two: Two) -> None:
    behind, _ = two
    await behind.rotate()
    mine = behind.client(behind.node_id)
    assert await mine.call("sums.add", {"a": 1}) == 2
