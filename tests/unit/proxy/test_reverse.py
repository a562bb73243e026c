"""The reverse proxy, asked by a peer in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keynet.address import Authority, NodeId
from keynet.config.values import Allow, Service, UnixPath
from keynet.errors import ClosedByPeer, ConfigError, ConnectionLost
from keynet.identity import Identity
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.head import Answer, AnswerReader
from keynet.rpc.proxy.reverse import Outcome, ReverseProxy
from keynet.rpc.proxy.services import Access, Services
from keynet.testing.streams import MemoryStream, connected

Serve = Callable[..., Awaitable[Any]]
NOWHERE = Service(80, Authority("127.0.0.1", 1))


class Peer:
    """A node that asks the proxy under test."""

    def __init__(self, identity: Identity, server: Identity, proxy: ReverseProxy) -> None:
        self.near, self._far = connected(identity, server)
        self.node_id = server.node_id
        self._proxy = proxy
        self._serving: list[asyncio.Task[None]] = []

    async def open(self) -> MemoryStream:
        """A stream that is being served."""
        stream = await self.near.open_stream()
        self._serving.append(
            asyncio.ensure_future(self._proxy.serve(await self._far.accept_stream()))
        )
        return stream

    async def ask(self, authority: str) -> tuple[Answer, MemoryStream]:
        stream = await self.open()
        reader = AnswerReader(authority)
        stream.write(reader.request)
        while True:
            data = await stream.read()
            assert data, "no answer"
            if answer := reader.feed(data):
                return answer, stream

    async def ask_for(self, port: int = 80) -> tuple[Answer, MemoryStream]:
        return await self.ask(f"{self.node_id}.keynet:{port}")

    async def served(self) -> None:
        """Wait until every stream has been served; none may have raised."""
        await asyncio.gather(*self._serving)

    async def stop(self) -> None:
        self.near.lose("the test is over")
        await self.served()


@asynccontextmanager
async def asking(
    *services: Service, access: Access | None = None, **settings: Any
) -> AsyncIterator[tuple[Peer, ReverseProxy]]:
    identity, server = Identity.generate(), Identity.generate()
    permitted = access or Access([Allow(identity.node_id, None)])
    proxy = ReverseProxy({server.node_id}, Services(services), permitted, **settings)
    peer = Peer(identity, server, proxy)
    try:
        yield peer, proxy
    finally:
        await peer.stop()
    assert len(proxy.audit) == 0
    assert not proxy._running


class TestLetIn:
    async def test_to_a_tcp_server(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo)) as (peer, _):
            answer, stream = await peer.ask_for(80)
            assert answer.status == 200
            stream.write(b"hello")
            assert await stream.read() == b"hello"
            stream.write_eof()
            assert await stream.read() == b""
            await peer.served()

    async def test_to_a_unix_server(self, serve: Serve, echo: Any, tmp_path: Path) -> None:
        async with asking(await serve(echo, path=str(tmp_path / "s"))) as (peer, proxy):
            answer, stream = await peer.ask_for(80)
            assert answer.status == 200
            stream.write(b"hello")
            assert await stream.read() == b"hello"
            assert [c.client for c in proxy.audit.connections()] == [None]

    async def test_to_the_only_service(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo, port=99)) as (peer, _):
            assert (await peer.ask_for(0))[0].status == 200

    async def test_by_an_id_that_the_node_had_before(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo)) as (peer, proxy):
            old = NodeId(b"\5" * 32)
            proxy.local_ids = {peer.node_id, old}
            assert (await peer.ask(f"{old}.keynet:80"))[0].status == 200

    async def test_bytes_behind_the_head_reach_the_server(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo)) as (peer, _):
            stream = await peer.open()
            stream.write(AnswerReader(f"{peer.node_id}.keynet:80").request + b"early")
            received = await stream.read()
            while not received.endswith(b"early"):
                received += await stream.read()
            assert received.startswith(b"HTTP/1.1 200 ")

    async def test_a_head_in_pieces(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo)) as (peer, _):
            stream = await peer.open()
            for byte in AnswerReader(f"{peer.node_id}.keynet:80").request:
                stream.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await stream.read()).startswith(b"HTTP/1.1 200 ")


class TestRefused:
    async def test_everybody_by_default(self) -> None:
        async with asking(NOWHERE, access=Access()) as (peer, _):
            for port in (80, 81, 0):
                answer, stream = await peer.ask_for(port)
                assert answer.status == 403
                assert await stream.read() == b""

    async def test_ports_that_are_not_allowed_look_like_ports_that_are_not_there(self) -> None:
        access = Access()
        async with asking(NOWHERE, Service(81, NOWHERE.target), access=access) as (peer, _):
            (identity,) = peer._far.peer.lineage
            access.allow(Allow(identity, frozenset({80})))
            assert (await peer.ask_for(81))[0] == (await peer.ask_for(82))[0]
            assert (await peer.ask_for(81))[0].status == 403

    async def test_services_that_are_not_there(self) -> None:
        async with asking(NOWHERE) as (peer, _):
            answer, _ = await peer.ask_for(82)
            assert (answer.status, answer.reason) == (404, "this node exposes no service 82")

    async def test_the_only_service_where_there_are_several(self) -> None:
        async with asking(NOWHERE, Service(81, NOWHERE.target)) as (peer, _):
            answer, _ = await peer.ask_for(0)
            assert (answer.status, "2 services" in answer.reason) == (404, True)

    async def test_other_nodes(self) -> None:
        async with asking(NOWHERE) as (peer, _):
            assert (await peer.ask(f"{NodeId(bytes(32))}.keynet:80"))[0].status == 404

    @pytest.mark.parametrize("authority", ["example.org:80", "x.keynet:80", "jsonrpc.keynet:1"])
    async def test_other_targets(self, authority: str) -> None:
        async with asking(NOWHERE) as (peer, _):
            assert (await peer.ask(authority))[0].status == 400

    async def test_builtin_protocols_that_are_not_there(self) -> None:
        async with asking(NOWHERE) as (peer, _):
            assert (await peer.ask("jsonrpc.keynet:0"))[0].status == 404

    async def test_servers_that_refuse(self) -> None:
        async with asking(NOWHERE, Service(81, UnixPath("/nowhere"))) as (peer, _):
            for port in (80, 81):
                answer, _ = await peer.ask_for(port)
                assert answer.status == 502
                assert "127.0.0.1" not in answer.reason
                assert "/nowhere" not in answer.reason

    async def test_servers_that_are_silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        async with asking(NOWHERE, dial_timeout=0.01) as (peer, _):
            assert (await peer.ask_for(80))[0].status == 504

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"SSH-2.0-client\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            (b"CONNECT x:1 HTTP/1.1\r\nHost: " + b"a" * 20000, 431),
        ],
    )
    async def test_bad_heads(self, data: bytes, status: int) -> None:
        async with asking(NOWHERE) as (peer, _):
            stream = await peer.open()
            stream.write(data)
            assert (await stream.read()).startswith(b"HTTP/1.1 %d " % status)
            assert await stream.read() == b""

    async def test_a_head_that_does_not_come(self) -> None:
        async with asking(NOWHERE, head_timeout=0.01) as (peer, _):
            stream = await peer.open()
            stream.write(b"CONNECT ")
            assert (await stream.read()).startswith(b"HTTP/1.1 400 ")

    async def test_a_head_that_ends_early(self) -> None:
        async with asking(NOWHERE) as (peer, _):
            stream = await peer.open()
            stream.write_eof()
            assert (await stream.read()).startswith(b"HTTP/1.1 400 ")

    async def test_one_stream_too_many(self, serve: Serve, echo: Any) -> None:
        async with asking(await serve(echo), max_streams_per_peer=2) as (peer, _):
            statuses = [(await peer.ask_for(80))[0].status for _ in range(3)]
            assert statuses == [200, 200, 503]
        async with asking(await serve(echo), max_streams=1) as (peer, _):
            statuses = [(await peer.ask_for(80))[0].status for _ in range(2)]
            assert statuses == [200, 503]


async def test_streams_that_break_raise_nothing() -> None:
    async with asking(NOWHERE) as (peer, _):
        await peer.open()
        (await peer.open()).reset()
        peer.near.lose("no pong for 8 s")
        await peer.served()


async def upper(stream: ByteStream, early: bytes) -> None:
    stream.write(early.upper())
    await stream.aclose()


class TestBuiltinProtocols:
    async def test_are_handed_their_stream(self) -> None:
        async with asking(access=Access()) as (peer, proxy):
            proxy.serve_protocol("jsonrpc", upper)
            stream = await peer.open()
            stream.write(AnswerReader("jsonrpc.keynet:0").request + b"hello")
            assert (await stream.read()).startswith(b"HTTP/1.1 200 ")
            assert await stream.read() == b"HELLO"

    async def test_come_and_go_while_the_proxy_runs(self) -> None:
        async with asking(access=Access()) as (peer, proxy):
            assert (await peer.ask("grpc.keynet:0"))[0].status == 404
            proxy.serve_protocol("grpc", upper)
            proxy.serve_protocol("jsonrpc", upper)
            assert (await peer.ask("grpc.keynet:0"))[0].status == 200
            proxy.serve_protocol("grpc", None)
            proxy.serve_protocol("grpc", None)
            answer, _ = await peer.ask("grpc.keynet:0")
            assert (answer.status, answer.reason) == (404, "this node does not speak grpc")
            assert (await peer.ask("jsonrpc.keynet:0"))[0].status == 200

    async def test_are_named_in_the_outcome(self) -> None:
        async with asking(access=Access()) as (peer, proxy):
            proxy.serve_protocol("jsonrpc", upper)
            for name, status in (("jsonrpc", 200), ("grpc", 404)):
                stream = await peer.near.open_stream()
                stream.write(AnswerReader(f"{name}.keynet:0").request)
                outcome = Outcome()
                await proxy.serve(await peer._far.accept_stream(), outcome)
                assert (outcome.protocol, outcome.status) == (name, status)
                assert outcome.service is None

    async def test_with_other_names_are_refused_at_once(self) -> None:
        async with asking() as (_, proxy):
            for name in ("Grpc", "", "a.b", "x" * 32):
                with pytest.raises(ConfigError):
                    proxy.serve_protocol(name, upper)


class TestAudit:
    async def test_a_server_finds_who_its_client_is(self, serve: Serve) -> None:
        clients: asyncio.Queue[Any] = asyncio.Queue()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            clients.put_nowait(writer.get_extra_info("peername"))
            await reader.read()

        async with asking(await serve(note)) as (peer, proxy):
            _, stream = await peer.ask_for(80)
            stream.write(b"x")
            found = proxy.audit.by_client(await clients.get())
            assert found is not None
            assert found.peer == peer._far.peer.node_id
            assert found.remote == peer._far.remote
            assert found.service == 80
            assert proxy.audit.by_peer(found.peer) == (found,)

    async def test_the_id_that_let_the_peer_in_is_told(self, serve: Serve, echo: Any) -> None:
        old = Identity.generate()
        server = Identity.generate()
        access = Access([Allow(old.node_id, None)])
        proxy = ReverseProxy({server.node_id}, Services([await serve(echo)]), access)
        peer = Peer(old.rotate(), server, proxy)
        assert (await peer.ask_for(80))[0].status == 200
        (found,) = proxy.audit.connections()
        assert (found.matched, found.lineage[1]) == (old.node_id, old.node_id)
        assert found.peer != old.node_id
        await peer.stop()


class TestChangesWhileRunning:
    async def test_are_for_new_connections(self, serve: Serve, echo: Any) -> None:
        async with asking() as (peer, proxy):
            assert (await peer.ask_for(80))[0].status == 404
            proxy.services.expose(await serve(echo))
            answer, stream = await peer.ask_for(80)
            assert answer.status == 200
            proxy.services.unexpose(80)
            assert (await peer.ask_for(80))[0].status == 404
            stream.write(b"still here")
            assert await stream.read() == b"still here"

    async def test_closing_breaks_off_what_runs(self, serve: Serve, echo: Any) -> None:
        identity, server = Identity.generate(), Identity.generate()
        access = Access(anyone=True)
        proxy = ReverseProxy({server.node_id}, Services([await serve(echo)]), access)
        peer = Peer(identity, server, proxy)
        _, stream = await peer.ask_for(80)
        await proxy.aclose()
        await proxy.aclose()
        with pytest.raises(ClosedByPeer):
            await stream.read()


async def test_a_lost_path_breaks_off_the_server(serve: Serve) -> None:
    seen: asyncio.Queue[object] = asyncio.Queue()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.put_nowait(await reader.read())
        except ConnectionResetError as error:
            seen.put_nowait(error)

    async with asking(await serve(watch)) as (peer, _):
        _, stream = await peer.ask_for(80)
        peer.near.lose("no pong for 8 s")
        assert isinstance(await seen.get(), ConnectionResetError)
        with pytest.raises(ConnectionLost):
            await stream.read()
