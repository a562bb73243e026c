"""The forward proxy, with a peer in memory behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keynet import errors
from keynet.address import Authority, NodeId, SocketAddress
from keynet.config.values import UnixPath
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.credentials import basic
from keynet.rpc.proxy.forward import ForwardProxy
from keynet.testing.proxies import MemoryDialer, ProxyPair, proxy_pair
from keynet.testing.streams import connected

Connect = Callable[..., Awaitable[Any]]
Serve = Callable[..., Awaitable[Any]]
NODE = NodeId(b"\7" * 32)


async def settled(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds; the test's timeout is the limit."""
    while not condition():  # noqa: ASYNC110 (there is nothing to be told by)
        await asyncio.sleep(0)


class TestConnect:
    async def test_reaches_the_service_and_carries_bytes(
        self, serve: Serve, connect: Connect, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo)) as pair:
            client = await connect(pair)
            assert await client.answer() == 200
            client.send(b"hello")
            assert await client.reader.readexactly(5) == b"hello"
            client.writer.write_eof()
            assert await client.reader.read() == b""
        assert pair.dialer.dialled == [Target(pair.server.node_id, None, 80)]

    async def test_by_address_reaches_the_only_service(
        self, serve: Serve, connect: Connect, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo)) as pair:
            target = f"192.0.2.2:4002/?nodeId={pair.server.node_id}"
            client = await connect(pair, target=target)
            assert await client.answer() == 200
            client = await connect(pair, target=target + "&service=80")
            assert await client.answer() == 200
        address = SocketAddress("192.0.2.2", 4002)
        assert pair.dialer.dialled == [
            Target(pair.server.node_id, address, None),
            Target(pair.server.node_id, address, 80),
        ]

    async def test_to_a_protocol_built_into_the_peer(self, connect: Connect) -> None:
        async def shout(stream: ByteStream, early: bytes) -> None:
            stream.write((early or await stream.read()).upper())
            await stream.aclose()

        async with proxy_pair() as pair:
            pair.reverse.serve_protocol("jsonrpc", shout)
            client = await connect(pair, target=f"jsonrpc.{pair.server.node_id}.keynet:0")
            assert await client.answer() == 200
            (running,) = pair.forward.audit.connections()
            assert running.service == "jsonrpc"
            client.send(b"hello")
            assert await client.reader.readexactly(5) == b"HELLO"
            client = await connect(pair, target=f"grpc.{pair.server.node_id}.keynet:0")
            assert await client.answer() == 404
        assert pair.dialer.dialled[0] == Target(pair.server.node_id, builtin="jsonrpc")

    async def test_by_name_asks_the_resolver(
        self, serve: Serve, connect: Connect, echo: Any
    ) -> None:
        async def resolve(host: str, port: int) -> list[SocketAddress]:
            return [SocketAddress("192.0.2.77", port)]

        async with proxy_pair(await serve(echo), resolve=resolve) as pair:
            target = f"home.example.org:4002/?nodeId={pair.server.node_id}"
            client = await connect(pair, target=target)
            assert await client.answer() == 200
        assert pair.dialer.dialled[0].address == SocketAddress("192.0.2.77", 4002)

    async def test_bytes_sent_with_the_head_arrive(
        self, serve: Serve, dial: Connect, head_of: Callable[..., bytes], echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo)) as pair:
            client = await dial(pair.proxy)
            client.send(head_of(pair) + b"early, ")
            client.send(b"later")
            assert await client.answer() == 200
            assert await client.reader.readexactly(12) == b"early, later"

    async def test_on_a_unix_socket_without_a_token(
        self, serve: Serve, connect: Connect, echo: Any, tmp_path: Path
    ) -> None:
        listen = UnixPath(str(tmp_path / "proxy"))
        async with proxy_pair(await serve(echo), token=None, listen=listen) as pair:
            client = await connect(pair)
            assert await client.answer() == 200
            client.send(b"hello")
            assert await client.reader.readexactly(5) == b"hello"

    async def test_many_clients_at_once_share_one_dial(
        self, serve: Serve, connect: Connect, echo: Any
    ) -> None:
        async def talk(pair: ProxyPair, number: int) -> None:
            client = await connect(pair)
            assert await client.answer() == 200
            message = b"%d" % number * 1000
            client.send(message)
            assert await client.reader.readexactly(len(message)) == message
            client.abort()

        async with proxy_pair(await serve(echo)) as pair:
            pair.dialer.gate.clear()
            talks = asyncio.gather(*(talk(pair, n) for n in range(100)))
            await settled(lambda: len(pair.forward._clients) == 100)
            await settled(lambda: not pair.forward._without_head)
            pair.dialer.gate.set()
            await talks
            await settled(lambda: not pair.forward.audit.connections())
            assert len(pair.dialer.dialled) == 1
            assert len(pair.near.streams) == 100


@pytest.fixture
def head_of() -> Callable[..., bytes]:
    def head_of(pair: ProxyPair, target: str = "", authorization: str | None = None) -> bytes:
        token = pair.proxy_token or ""
        where = target or f"{pair.server.node_id}.keynet:80"
        shown = basic(token) if authorization is None else authorization
        credentials = f"Proxy-Authorization: {shown}\r\n" if shown else ""
        return f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{credentials}\r\n".encode()

    return head_of


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.LookupFailed("nobody knows that node"), 404),
            (errors.PunchFailed("tried 3 addresses"), 503),
            (errors.HandshakeFailed("broke off"), 502),
            (errors.CertificateExpired("expired"), 526),
            (errors.DeadlineExceeded("too slow"), 504),
            (OSError(101, "Network is unreachable"), 503),
        ],
        ids=repr,
    )
    async def test_what_the_dialer_raises_is_answered(
        self, connect: Connect, error: Exception, status: int
    ) -> None:
        async with proxy_pair() as pair:
            pair.dialer.error = error
            client = await connect(pair)
            answered, text = await client.refusal()
            assert answered == status
            assert str(error) in text

    async def test_a_bug_below_is_502_and_told_to_the_log_alone(
        self, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with proxy_pair() as pair:
            pair.dialer.error = ZeroDivisionError("secret")
            status, text = await (await connect(pair)).refusal()
            assert (status, "secret" in text) == (502, False)
        assert "secret" in caplog.text

    async def test_a_peer_that_is_another_node_is_526(self, connect: Connect) -> None:
        async with proxy_pair() as pair:
            client = await connect(pair, target=f"{NODE}.keynet:80")
            assert (await client.refusal())[0] == 526

    @pytest.mark.parametrize(
        ("shown", "status"),
        [("", 407), ("Basic a2V5bmV0Ondyb25n", 407), ("Bearer a-token-for-tests", 404)],
    )
    async def test_credentials_are_asked_for(
        self, dial: Connect, head_of: Callable[..., bytes], shown: str, status: int
    ) -> None:
        async with proxy_pair() as pair:
            client = await dial(pair.proxy)
            client.send(head_of(pair, authorization=shown))
            assert (await client.refusal())[0] == status
        assert bool(pair.dialer.dialled) == (status != 407)

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", 405),
            (b"GET / HTTP/1.1\r\nHost: x\r\nPad: " + b"a" * 70000, 431),
            (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
            (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", 400),
        ],
    )
    async def test_bad_heads_are_answered(self, dial: Connect, data: bytes, status: int) -> None:
        async with proxy_pair() as pair:
            client = await dial(pair.proxy)
            client.send(data)
            assert (await client.refusal())[0] == status

    @pytest.mark.parametrize(
        "target",
        [
            "example.org:443",
            f"224.0.0.1:4000/?nodeId={NODE}",
            f"255.255.255.255:4000/?nodeId={NODE}",
            f"[ff02::1]:4000/?nodeId={NODE}",
            f"0.0.0.0:4000/?nodeId={NODE}",
            "jsonrpc.keynet:0",
        ],
    )
    async def test_bad_targets_are_400_and_not_dialled(self, connect: Connect, target: str) -> None:
        async with proxy_pair() as pair:
            client = await connect(pair, target=target)
            assert (await client.refusal())[0] == 400
        assert not pair.dialer.dialled

    async def test_a_client_that_sends_on_still_gets_its_answer(
        self, dial: Connect, head_of: Callable[..., bytes]
    ) -> None:
        async with proxy_pair(linger=30) as pair:
            client = await dial(pair.proxy)
            client.send(head_of(pair, authorization="") + b"x" * 1_000_000)
            assert await client.answer() == 407
            client.send(b"x" * 1_000_000)
            await client.writer.drain()
            client.writer.write_eof()
            assert b"credentials" in await client.reader.read()

    async def test_what_the_peer_says_is_passed_on(self, connect: Connect, serve: Serve) -> None:
        async with proxy_pair() as pair:
            status, text = await (await connect(pair, 81)).refusal()
            assert (status, "no service 81" in text) == (404, True)

    async def test_a_peer_that_answers_nonsense_is_502(self, connect: Connect) -> None:
        async with proxy_pair() as pair:
            near, far = connected(pair.client, pair.server)
            pair.dialer.connection = near
            client = await connect(pair)
            stream = await far.accept_stream()
            stream.write(b"SSH-2.0-server\r\n\r\n")
            assert (await client.refusal())[0] == 502

    async def test_a_path_that_dies_meanwhile_is_503(self, connect: Connect) -> None:
        async with proxy_pair() as pair:
            near, far = connected(pair.client, pair.server)
            pair.dialer.connection = near
            client = await connect(pair)
            await far.accept_stream()
            near.lose("no pong for 8 s")
            status, text = await client.refusal()
            assert (status, "no pong" in text) == (503, True)


class TestTime:
    async def test_a_slow_dial_is_504_and_cancelled(self, connect: Connect) -> None:
        async with proxy_pair(deadline=0.01) as pair:
            pair.dialer.gate.clear()
            client = await connect(pair)
            status, text = await client.refusal()
            assert status == 504
            assert f"timed out after 0.01 s: a connection to {pair.server.node_id}" in text
            assert pair.dialer.cancelled == 1

    async def test_a_silent_peer_is_504_and_its_stream_reset(self, connect: Connect) -> None:
        async with proxy_pair(deadline=0.01) as pair:
            near, far = connected(pair.client, pair.server)
            pair.dialer.connection = near
            client = await connect(pair)
            stream = await far.accept_stream()
            status, text = await client.refusal()
            assert status == 504
            assert "an answer of" in text
            assert isinstance(stream.error, errors.ClosedByPeer)

    async def test_a_slow_name_look_up_counts_as_well(self, connect: Connect) -> None:
        async def resolve(host: str, port: int) -> list[SocketAddress]:
            await asyncio.Event().wait()
            return []

        async with proxy_pair(deadline=0.01, resolve=resolve) as pair:
            client = await connect(pair, target=f"nowhere:1/?nodeId={NODE}")
            status, text = await client.refusal()
            assert status == 504
            assert "the look-up of the address" in text

    async def test_a_slow_head_is_400(self, dial: Connect) -> None:
        async with proxy_pair(head_timeout=0.01) as pair:
            client = await dial(pair.proxy)
            client.send(b"CONNECT x.key")
            status, text = await client.refusal()
            assert (status, "0.01 s" in text) == (400, True)

    async def test_a_refused_client_that_stays_is_dropped(
        self, dial: Connect, head_of: Callable[..., bytes]
    ) -> None:
        async with proxy_pair(linger=0.01) as pair:
            client = await dial(pair.proxy)
            client.send(head_of(pair, authorization=""))
            assert await client.answer() == 407
            await settled(lambda: not pair.forward._clients)


class TestClientsThatLeave:
    @pytest.mark.parametrize("how", ["abort", "eof"])
    async def test_take_their_dial_with_them(self, connect: Connect, how: str) -> None:
        async with proxy_pair() as pair:
            pair.dialer.gate.clear()
            client = await connect(pair)
            await settled(lambda: len(pair.dialer.dialled) == 1)
            client.abort() if how == "abort" else client.writer.write_eof()
            await settled(lambda: pair.dialer.cancelled == 1)
            await settled(lambda: not pair.forward._clients)

    async def test_leave_the_dial_to_others(
        self, connect: Connect, serve: Serve, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo)) as pair:
            pair.dialer.gate.clear()
            leaving, staying = await connect(pair), await connect(pair)
            await settled(lambda: len(pair.forward._clients) == 2)
            await settled(lambda: not pair.forward._without_head)
            leaving.abort()
            await settled(lambda: len(pair.forward._clients) == 1)
            pair.dialer.gate.set()
            assert await staying.answer() == 200
            assert len(pair.dialer.dialled) == 1

    async def test_while_the_peer_answers_have_their_stream_reset(self, connect: Connect) -> None:
        async with proxy_pair() as pair:
            near, far = connected(pair.client, pair.server)
            pair.dialer.connection = near
            client = await connect(pair)
            stream = await far.accept_stream()
            client.abort()
            await settled(lambda: stream.error is not None)

    async def test_before_their_head_leave_nothing(self, dial: Connect) -> None:
        async with proxy_pair() as pair:
            client = await dial(pair.proxy)
            await settled(lambda: len(pair.forward._clients) == 1)
            client.abort()
            await settled(lambda: not pair.forward._clients)
            assert not pair.forward._without_head


class TestBounds:
    async def test_one_client_too_many_is_503(
        self, connect: Connect, serve: Serve, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo), max_clients=2) as pair:
            for _ in range(2):
                assert await (await connect(pair)).answer() == 200
            assert (await (await connect(pair)).refusal())[0] == 503

    async def test_clients_without_a_head_make_room(
        self, connect: Connect, dial: Connect, serve: Serve, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo), max_clients=5) as pair:
            idlers = [await dial(pair.proxy) for _ in range(20)]
            for idler in idlers:
                idler.send(b"CONNECT ")
            assert await (await connect(pair)).answer() == 200
            await settled(lambda: len(pair.forward._clients) <= 5)

    async def test_early_bytes_are_bounded(self, connect: Connect) -> None:
        async with proxy_pair() as pair:
            pair.dialer.gate.clear()
            client = await connect(pair)
            await settled(lambda: len(pair.dialer.dialled) == 1)
            client.send(b"x" * 5_000_000)
            (end,) = pair.forward._clients
            await settled(lambda: len(end._early) >= 65536)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(end._early) < 100_000


class TestServerFirst:
    async def test_the_servers_bytes_come_when_the_client_is_silent(
        self, serve: Serve, connect: Connect
    ) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-server\r\n")
            await reader.read()

        async with proxy_pair(await serve(greet), hold=0.01) as pair:
            client = await connect(pair)
            assert await client.answer() == 200
            assert await client.reader.readline() == b"SSH-2.0-server\r\n"

    async def test_they_wait_for_the_clients_first(self, serve: Serve, connect: Connect) -> None:
        async def settings_first(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(b"SETTINGS")
            await reader.read()

        async with proxy_pair(await serve(settings_first), hold=3600) as pair:
            client = await connect(pair)
            assert await client.answer() == 200
            await settled(lambda: bool(pair.far.streams))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not client.reader._buffer  # type: ignore[attr-defined]
            client.send(b"PRI * HTTP/2.0")
            assert await client.reader.readexactly(8) == b"SETTINGS"


class TestListening:
    async def test_tcp_without_a_token_is_refused(self) -> None:
        near, _ = connected(ProxyPair((), None, None).client, ProxyPair((), None, None).server)
        proxy = ForwardProxy(MemoryDialer(near), token=None)
        with pytest.raises(errors.ConfigError, match="token"):
            await proxy.listen(Authority("127.0.0.1", 0))
        await proxy.aclose()

    async def test_closing_twice_is_harmless_and_breaks_off_what_runs(
        self, serve: Serve, connect: Connect, echo: Any
    ) -> None:
        async with proxy_pair(await serve(echo)) as pair:
            client = await connect(pair)
            assert await client.answer() == 200
            await pair.forward.aclose()
            await pair.forward.aclose()
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
