"""Users' protobuf servicers, health and reflection on a node's own gRPC server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from keynet.address import Authority, NodeId
from keynet.errors import ConfigError, RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.access import AllowCalls, CallAccess
from keynet.rpc.dispatch import FAILED
from keynet.rpc.grpc import binding
from keynet.rpc.grpc.binding import Binding
from keynet.rpc.grpc.channel import through_proxy
from keynet.rpc.grpc.servicers import Servicers
from keynet.rpc.limits import Limits
from keynet.rpc.status import Status
from keynet.testing.rpc.ends import Ends, Scene
from keynet.testing.rpc.sockets import over_sockets

pytestmark = pytest.mark.may_leak_sockets

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
Request, Response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse


class Asked:
    """A protobuf servicer of each kind. Its messages are those of grpcio's health service."""

    def __init__(self, made: Binding) -> None:
        self.binding = made
        self.peers: list[PeerIdentity | None] = []
        self.hanging = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def unary(self, request: Any, context: Any) -> Any:
        self.peers.append(self.binding.peer_of(context))
        if request.service == "fail":
            await context.abort(grpc.StatusCode.DATA_LOSS, "told to", (("left", "3"),))
        if request.service == "refuse":
            raise RpcError(Status.ABORTED, "no", b"")
        if request.service == "raise":
            raise ValueError("a secret of this node")
        if request.service == "raise after set_code":
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("no such thing")
            raise ValueError("a secret of this node")
        if request.service == "hang":
            await self.hang()
        return Response(status=len(request.service))

    async def hang(self) -> None:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def give(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            for number in range(len(request.service)):
                yield Response(status=number)
        finally:
            self.cancelled.set()

    async def take(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return Response(status=sum([len(one.service) async for one in requests]))

    async def swap(self, requests: AsyncIterator[Any], context: Any) -> None:
        async for one in requests:
            await context.write(Response(status=len(one.service)))

    def blocking(self, request: Any, context: Any) -> Any:
        raise AssertionError("nothing blocking is called")

    def add_to(self, server: Any) -> None:
        """As generated code adds a servicer."""
        encoding = (Request.FromString, Response.SerializeToString)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, *encoding),
            "Give": grpc.unary_stream_rpc_method_handler(self.give, *encoding),
            "Take": grpc.stream_unary_rpc_method_handler(self.take, *encoding),
            "Swap": grpc.stream_stream_rpc_method_handler(self.swap, *encoding),
            "Blocking": grpc.unary_unary_rpc_method_handler(self.blocking, *encoding),
        }
        generic = grpc.method_handlers_generic_handler("a.Asked", handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers("a.Asked", handlers)


class Calls:
    """A stub, as generated code makes them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        encoding = (Request.SerializeToString, Response.FromString)
        self.unary = channel.unary_unary("/a.Asked/Unary", *encoding)
        self.give = channel.unary_stream("/a.Asked/Give", *encoding)
        self.take = channel.stream_unary("/a.Asked/Take", *encoding)
        self.swap = channel.stream_stream("/a.Asked/Swap", *encoding)
        self.blocking = channel.unary_unary("/a.Asked/Blocking", *encoding)
        self.garbage = channel.unary_unary("/a.Asked/Unary")


@asynccontextmanager
async def channel_to(scene: Scene) -> AsyncIterator[grpc.aio.Channel]:
    """A plain channel to the peer's gRPC server, through the node's proxy."""
    access = await scene.near.proxy()  # type: ignore[attr-defined]
    authority = Authority(f"grpc.{scene.far.node_id}.keynet", 0)
    target, settings = through_proxy(access.address, access.token, authority)
    async with grpc.aio.insecure_channel(target, list(settings.items())) as made:
        yield made


@asynccontextmanager
async def served(
    made: Binding, patterns: Iterable[str] | None = None, **settings: Any
) -> AsyncIterator[tuple[Scene, grpc.aio.Channel]]:
    """A node that serves with `made`, and a channel to it for whom `patterns` let in."""
    access = CallAccess()
    async with Ends(lambda: made, over_sockets).joined(access=access, **settings) as scene:
        if patterns is None:
            access.allow(AllowCalls(scene.near.node_id, None))
        elif wanted := frozenset(patterns):
            access.allow(AllowCalls(scene.near.node_id, wanted))
        async with channel_to(scene) as channel:
            yield scene, channel


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


def asked(text: str) -> Any:
    return Request(service=text)


class TestServicers:
    async def test_all_four_kinds_and_service_definitions_beside_them(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (scene, channel):
            calls = Calls(channel)
            assert (await calls.unary(asked("abc"))).status == 3
            assert [one.status async for one in calls.give(asked("abc"))] == [0, 1, 2]
            assert (await calls.take(iter([asked("a"), asked("bc")]))).status == 3
            replies = calls.swap(iter([asked("a"), asked("bc")]))
            assert [one.status async for one in replies] == [1, 2]
            assert (await scene.call("ask", {"text": "too"})).result == "too"

    async def test_a_servicer_learns_who_calls(self) -> None:
        made = binding()
        servicer = Asked(made)
        servicer.add_to(made.servicers)
        async with served(made) as (scene, channel):
            await Calls(channel).unary(asked("x"))
            (peer,) = servicer.peers
            assert peer is not None
            assert peer.node_id == scene.near.node_id
            assert peer.certificates_pem()

    async def test_its_statuses_and_trailers_arrive_unchanged(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (_, channel):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Calls(channel).unary(asked("fail"))
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS
            assert dict(caught.value.trailing_metadata()) == {"left": "3"}
            refused = await status_of(Calls(channel).unary(asked("refuse")))
            assert refused == (grpc.StatusCode.ABORTED, "no")

    async def test_what_it_raises_does_not_leak(self, caplog: pytest.LogCaptureFixture) -> None:
        """grpcio by itself sends the caller the exception's class and text."""
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (_, channel):
            raised = await status_of(Calls(channel).unary(asked("raise")))
            assert raised == (grpc.StatusCode.UNKNOWN, FAILED)
            told = await status_of(Calls(channel).unary(asked("raise after set_code")))
            assert told == (grpc.StatusCode.NOT_FOUND, "no such thing")
        assert caplog.text.count("ValueError: a secret of this node") == 2

    async def test_one_may_be_added_while_the_server_runs(self) -> None:
        made = binding()
        async with served(made) as (_, channel):
            code, _text = await status_of(Calls(channel).unary(asked("x")))
            assert code is grpc.StatusCode.UNIMPLEMENTED
            Asked(made).add_to(made.servicers)
            assert (await Calls(channel).unary(asked("x"))).status == 1

    async def test_a_method_that_would_block_the_node_is_not_implemented(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (_, channel):
            code, text = await status_of(Calls(channel).blocking(asked("x")))
            assert (code, "async def" in text) == (grpc.StatusCode.UNIMPLEMENTED, True)

    async def test_a_request_that_cannot_be_parsed_is_an_invalid_argument(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (_, channel):
            code, text = await status_of(Calls(channel).garbage(b"\xff"))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "protobuf" not in text

    async def test_a_cancelled_call_is_cancelled_in_the_servicer(self) -> None:
        made = binding()
        servicer = Asked(made)
        servicer.add_to(made.servicers)
        async with served(made) as (_, channel):
            call = Calls(channel).unary(asked("hang"))
            async with asyncio.timeout(5):
                await servicer.hanging.wait()
                call.cancel()
                await servicer.cancelled.wait()

    async def test_a_stream_that_nobody_reads_ends_in_the_servicer_when_it_is_cancelled(
        self,
    ) -> None:
        made = binding()
        servicer = Asked(made)
        servicer.add_to(made.servicers)
        async with served(made) as (scene, channel):
            call = Calls(channel).give(asked("x" * 1_000_000))
            await call.read()
            await scene.until_idle()  # the flow's control holds the servicer by now
            assert not servicer.cancelled.is_set()
            gc.disable()
            try:
                call.cancel()
                async with asyncio.timeout(5):
                    await servicer.cancelled.wait()
            finally:
                gc.enable()


class TestAccess:
    """Methods of servicers are closed until they are opened, as all others."""

    @pytest.mark.parametrize(
        ("patterns", "open_"),
        [
            ([], False),
            (["probe"], False),
            (["a.Asked.Give"], False),
            (["a.Asked.Unary"], True),
            (["a.Asked"], True),
            (["a.Asked.*"], True),
            (None, True),
        ],
        ids=repr,
    )
    async def test_rules_name_services_and_methods(
        self, patterns: list[str] | None, open_: bool
    ) -> None:
        made = binding()
        servicer = Asked(made)
        servicer.add_to(made.servicers)
        async with served(made, patterns) as (_, channel):
            if open_:
                assert (await Calls(channel).unary(asked("x"))).status == 1
                return
            code, _text = await status_of(Calls(channel).unary(asked("x")))
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert not servicer.peers

    async def test_they_count_as_running_calls(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made, limits=Limits(max_calls_per_peer=1)) as (scene, channel):
            call = Calls(channel).swap()
            await call.write(asked("a"))
            await call.read()
            code, _text = await status_of(Calls(channel).unary(asked("x")))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await scene.call("ask")).status is Status.RESOURCE_EXHAUSTED
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert (await Calls(channel).unary(asked("x"))).status == 1

    async def test_what_outlasts_the_grace_ends_as_unavailable(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made) as (scene, channel):
            call = Calls(channel).swap()
            await call.write(asked("a"))
            await call.read()
            await scene.server.aclose(0.1)
            code, _text = await status_of(call.read())
            assert code is grpc.StatusCode.UNAVAILABLE


class TestHealth:
    async def test_the_server_and_its_servicers_serve(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made, [HEALTH]) as (_, channel):
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "a.Asked"):
                assert (await health.Check(asked(name))).status == Response.SERVING
            code, _text = await status_of(health.Check(asked("nothing")))
            assert code is grpc.StatusCode.NOT_FOUND

    async def test_who_watches_learns_that_the_server_closes(self) -> None:
        async with served(binding(), [HEALTH]) as (scene, channel):
            watch = health_pb2_grpc.HealthStub(channel).Watch(asked(""))
            assert (await watch.read()).status == Response.SERVING
            closing = asyncio.create_task(scene.server.aclose(0.1))
            assert (await watch.read()).status == Response.NOT_SERVING
            await closing

    async def test_it_is_closed_like_any_method(self) -> None:
        async with served(binding(), ["probe"]) as (_, channel):
            code, _text = await status_of(health_pb2_grpc.HealthStub(channel).Check(asked("")))
            assert code is grpc.StatusCode.PERMISSION_DENIED


class TestReflection:
    async def listed(self, channel: grpc.aio.Channel) -> list[str]:
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = [one async for one in stub.ServerReflectionInfo(iter([ask]))]
        return [service.name for service in answer.list_services_response.service]

    async def test_it_lists_what_the_asking_peer_may_call(self) -> None:
        made = binding()
        Asked(made).add_to(made.servicers)
        async with served(made, [REFLECTION]) as (_, channel):
            assert await self.listed(channel) == [REFLECTION]
        async with served(made, [REFLECTION, "probe.ask", "a.Asked.Give"]) as (_, channel):
            assert await self.listed(channel) == ["a.Asked", REFLECTION, "probe"]
        async with served(made) as (_, channel):
            assert await self.listed(channel) == ["a.Asked", HEALTH, REFLECTION, "probe"]

    async def test_it_describes_protobuf_and_says_so_of_nothing_else(self) -> None:
        async with served(binding()) as (_, channel):
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asks = [
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
                for name in (HEALTH, "probe")
            ]
            health, probe = [one async for one in stub.ServerReflectionInfo(iter(asks))]
            assert health.file_descriptor_response.file_descriptor_proto
            assert probe.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]

    async def test_it_is_closed_like_any_method(self) -> None:
        async with served(binding(), ["probe"]) as (_, channel):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await self.listed(channel)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


class TestAdding:
    def test_names_are_those_of_all_services(self) -> None:
        servicers = Servicers()
        Asked(binding()).add_to(servicers)
        health_pb2_grpc.add_HealthServicer_to_server(health_pb2_grpc.HealthServicer(), servicers)
        assert servicers.services() == {"a.Asked", HEALTH}
        assert servicers.find("/a.Asked/Unary") is not None
        assert servicers.find("/a.Asked/Nothing") is None

    def test_a_handler_that_finds_methods_by_itself_is_refused(self) -> None:
        class Own(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, handler_call_details: Any) -> None:
                return None

        with pytest.raises(ConfigError, match="exposed by its port"):
            Servicers().add_generic_rpc_handlers((Own(),))

    def test_a_name_that_no_rule_can_name_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"service\.method"):
            Servicers().add_registered_method_handlers("a." + "x" * 300, {"M": object()})


class Unproxied:
    """A network without a proxy, as byte-stream bindings are content with."""

    node_id = NodeId(b"\1" * 32)

    async def open_stream(self, node_id: NodeId, protocol: str) -> Any:
        raise AssertionError("not to be used")

    def serve_protocol(self, protocol: str, handler: Any) -> None:
        raise AssertionError("not to be used")


def test_a_network_without_a_proxy_is_refused() -> None:
    with pytest.raises(ConfigError, match="proxy"):
        binding().connect(Unproxied(), NodeId(b"\2" * 32))


@pytest.mark.parametrize("size", [0, -1])
def test_a_message_size_that_fits_nothing_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="at least one byte"):
        binding(max_message_size=size)
