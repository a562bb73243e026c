"""Calls of service definitions over real grpcio, beyond what the conformance suite checks of every
binding: who is let in to the server, and what grpcio by itself would get wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from keynet.address import Authority
from keynet.errors import ConnectError, RpcError
from keynet.rpc.access import AllowCalls, CallAccess
from keynet.rpc.api import Call, Request
from keynet.rpc.grpc import binding
from keynet.rpc.grpc.channel import through_proxy
from keynet.rpc.grpc.metadata import DETAILS
from keynet.rpc.grpc.server import GrpcServer
from keynet.rpc.status import Status, rpc_error
from keynet.testing.rpc.ends import Ends, Scene
from keynet.testing.rpc.sockets import over_sockets

EVERY_KIND_OF_METHOD = [
    "/probe/ask",
    "/probe/nothing",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/no.such.Service/Method",
]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with Ends(binding, over_sockets).joined() as made:
        yield made


def port_of(scene: Scene) -> int:
    assert isinstance(scene.server, GrpcServer)
    assert scene.server.address is not None
    return scene.server.address.port


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.may_leak_sockets
class TestGate:
    """No local program gets past the node, whatever it says of itself."""

    @pytest.mark.parametrize("path", EVERY_KIND_OF_METHOD)
    async def test_a_direct_connection_is_nobody(self, scene: Scene, path: str) -> None:
        node_id = str(scene.near.node_id)
        claims = (("peer", node_id), ("keynet-peer", node_id), ("x-forwarded-for", "127.0.0.1"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_of(scene)}") as channel:
            for call, sent in (
                (channel.unary_unary, packed({})),
                (channel.stream_unary, iter([packed({})])),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(path)(sent, metadata=claims, timeout=10)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert "node" in caught.value.details()
        assert not scene.probe.calls

    async def test_it_is_nobody_beside_a_peers_connection_too(self, scene: Scene) -> None:
        assert (await scene.call("ask", {"text": "in"})).result == "in"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_of(scene)}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/probe/ask")(packed({}), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_the_port_is_on_loopback_and_nobody_shares_it(self, scene: Scene) -> None:
        other = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        with pytest.raises(RuntimeError):
            other.add_insecure_port(f"127.0.0.1:{port_of(scene)}")
        with pytest.raises(OSError):  # noqa: PT011  # refused, in the system's own words
            await asyncio.open_connection("127.0.0.2", port_of(scene))


@pytest.mark.may_leak_sockets
class TestForeignClients:
    """Plain grpcio through the node's proxy: any language's gRPC with MessagePack can call."""

    @pytest.fixture
    async def channel(self, scene: Scene) -> AsyncIterator[grpc.aio.Channel]:
        access = await scene.near.proxy()  # type: ignore[attr-defined]
        host = f"grpc.{scene.far.node_id}.keynet"
        target, settings = through_proxy(access.address, access.token, Authority(host, 0))
        async with grpc.aio.insecure_channel(target, list(settings.items())) as made:
            yield made

    async def test_unary_calls_with_metadata_and_details(
        self, scene: Scene, channel: grpc.aio.Channel
    ) -> None:
        async def fail(call: Call) -> None:
            assert call.metadata == (("trace", "1"),)
            assert call.remaining(asyncio.get_running_loop().time()) == pytest.approx(10, abs=2)
            raise rpc_error(Status.ABORTED, "no", b"\0why")

        ask = channel.unary_unary("/probe/ask")
        assert await ask(packed({"text": "hello"}), timeout=10) == packed("hello")
        scene.probe.act = fail
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(packed({}), metadata=(("trace", "1"), ("x-bin", b"\0")), timeout=10)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert dict(caught.value.trailing_metadata())[DETAILS] == b"\0why"

    async def test_items_end_with_an_empty_message(
        self, scene: Scene, channel: grpc.aio.Channel
    ) -> None:
        sent = iter([packed({}), packed("a"), packed("b"), b""])
        assert msgspec.msgpack.decode(await channel.stream_unary("/probe/take")(sent))["count"] == 2

    async def test_half_a_stream_does_not_pass_for_a_whole_one(
        self, scene: Scene, channel: grpc.aio.Channel
    ) -> None:
        """grpcio ends a broken call's messages as it ends a whole one's, a moment before it
        cancels: only the empty message tells them apart."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.stream_unary("/probe/take")(iter([packed({}), packed("a")]))
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        await scene.stopped("take")

    @pytest.mark.parametrize("messages", [[], [b""], [b"\xc1"], [packed([1])]], ids=repr)
    async def test_a_call_without_parameters_is_refused(
        self, channel: grpc.aio.Channel, messages: list[bytes]
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.stream_unary("/probe/ask")(iter(messages), timeout=10)
        wanted = grpc.StatusCode.INVALID_ARGUMENT if messages else grpc.StatusCode.CANCELLED
        assert caught.value.code() is wanted

    @pytest.mark.parametrize("path", ["/x", "//", "/probe/" + "x" * 5000, "/probe/\x7f"])
    async def test_strange_paths_are_no_methods(self, channel: grpc.aio.Channel, path: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(packed({}), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert len(caught.value.details()) <= 300


class TestEndings:
    async def test_how_the_server_ended_a_call_is_kept_while_the_client_sends(
        self, scene: Scene
    ) -> None:
        """grpcio's own `write` would make INTERNAL of it (grpc/grpc issue 36066)."""

        async def refuse(call: Call) -> None:
            raise rpc_error(Status.ABORTED, "stop that")

        scene.probe.act = refuse
        ends = Counter[tuple[Status, str]]()
        for _ in range(25):
            call = await scene.start("swap")
            outcome = await scene.see_out(call, "swap", ["x" * 1000] * 500)
            assert outcome.error is not None
            ends[outcome.status, outcome.error.message] += 1
        assert ends == {(Status.ABORTED, "stop that"): 25}

    async def test_a_peer_that_was_not_reached_is_dialled_for_the_next_call_and_not_before(
        self, scene: Scene
    ) -> None:
        scene.near.refusal = ConnectError("no path")
        for tries in (1, 2, 3):
            outcome = await scene.call("ask")
            assert outcome.status is Status.UNAVAILABLE
            assert scene.near.opened == tries
        scene.near.refusal = None
        assert (await scene.call("ask", {"text": "there"})).result == "there"

    async def test_a_closed_channel_makes_no_calls(self, scene: Scene) -> None:
        await scene.channel.aclose()
        request = Request(scene.method("ask"), scene.method("ask").params())
        with pytest.raises(RpcError, match="closed") as caught:
            await scene.channel.start(request)
        assert caught.value.status == Status.CANCELLED

    async def test_the_server_starts_no_port_twice_and_closes_twice(self, scene: Scene) -> None:
        await asyncio.gather(scene.server.aclose(0), scene.server.aclose(0))
        with pytest.raises(OSError):  # noqa: PT011  # refused, in the system's own words
            await asyncio.open_connection("127.0.0.1", port_of(scene))
        assert (await scene.call("ask")).status is Status.UNIMPLEMENTED


async def test_a_peer_without_any_rule_learns_of_no_method() -> None:
    async with Ends(binding, over_sockets).joined(access=CallAccess()) as scene:
        for method in (scene.method("ask"), scene.named("nothing")):
            assert (await scene.call(method)).status is Status.PERMISSION_DENIED


async def test_rules_may_be_given_while_it_runs() -> None:
    access = CallAccess()
    async with Ends(binding, over_sockets).joined(access=access) as scene:
        assert (await scene.call("ask")).status is Status.PERMISSION_DENIED
        access.allow(AllowCalls(scene.near.node_id, frozenset({"probe.ask"})))
        assert (await scene.call("ask")).error is None
        assert (await scene.call("give")).status is Status.PERMISSION_DENIED


def test_it_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def program() -> None:
        async with Ends(binding, over_sockets).joined() as scene:
            assert (await scene.call("ask", {"text": "x"})).result == "x"
            assert (await scene.call("swap", items=["a", "b"])).items == ["A", "B"]
            scene.lose("the cable was cut")
            await scene.until_idle()
            outcome = await scene.call("ask", {"text": "again"})
            assert outcome.result == "again"

    uvloop.run(asyncio.wait_for(program(), 30))
