"""A node's network, as RPC bindings use it, over a connection in memory."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keynet.address import Authority, NodeId, SocketAddress
from keynet.config.values import UnixPath
from keynet.errors import (
    ConfigError,
    DeadlineExceeded,
    LocallyClosed,
    LookupFailed,
    ProxyRefused,
    UnclaimedNodeId,
)
from keynet.identity import Identity
from keynet.node import ConnectionLost, ConnectionOpened, DialFailed
from keynet.node.network import NodeNetwork
from keynet.node.private_proxy import PrivateProxy
from keynet.node.reasons import MAX_REASONS, Reasons
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.api import ProxyAccess, Target
from keynet.rpc.proxy.credentials import basic
from keynet.rpc.proxy.head import AnswerReader
from keynet.rpc.proxy.reverse import ReverseProxy
from keynet.rpc.proxy.services import Access, Services
from keynet.rpc.proxy.target import builtin_authority
from keynet.testing import clock
from keynet.testing.proxies import MemoryDialer, ProxyPair, proxy_pair


async def greet(stream: ByteStream, early: bytes) -> None:
    """Speaks first, then gives back what it reads, in capitals."""
    stream.write(b"hello, ")
    stream.write((early or await stream.read()).upper())
    await stream.aclose()


async def read_all(stream: ByteStream) -> bytes:
    parts = []
    while data := await stream.read(3):
        parts.append(data)
    return b"".join(parts)


def network_of(identity: Identity, dialer: MemoryDialer) -> tuple[NodeNetwork, ReverseProxy]:
    reverse = ReverseProxy(identity.lineage, Services(), Access())
    return NodeNetwork(lambda: identity, dialer, reverse, deadline=15.0), reverse


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[NodeNetwork, ProxyPair]]:
    async with proxy_pair() as pair:
        network, reverse = network_of(pair.client, pair.dialer)
        try:
            yield network, pair
        finally:
            await network.aclose()
            await reverse.aclose()


class TestStreams:
    async def test_to_a_peers_protocol(self) -> None:
        async with joined() as (network, pair):
            pair.reverse.serve_protocol("greet", greet)
            stream = await network.open_stream(pair.server.node_id, "greet")
            assert stream.connection.peer.node_id == pair.server.node_id
            stream.write(b"you")
            stream.write_eof()
            assert await read_all(stream) == b"hello, YOU"
            assert (stream.error, stream.buffered) == (None, 0)
            await stream.wait_closed()
        assert pair.dialer.dialled == [Target(pair.server.node_id, builtin="greet")]

    async def test_to_a_protocol_that_the_peer_does_not_speak(self) -> None:
        async with joined() as (network, pair):
            with pytest.raises(ProxyRefused) as caught:
                await network.open_stream(pair.server.node_id, "greet")
        assert caught.value.status == 404

    async def test_from_peers(self) -> None:
        async with joined() as (network, pair):
            network.serve_protocol("greet", greet)
            with pytest.raises(ConfigError):
                network.serve_protocol("Greet", greet)
            reverse = network._reverse_proxy
            opened = await pair.far.open_stream()
            serving = asyncio.ensure_future(reverse.serve(await pair.near.accept_stream()))
            opened.write(AnswerReader("greet.keynet:0").request + b"me")
            opened.write_eof()
            assert (await read_all(opened)).endswith(b"\r\n\r\nhello, ME")
            await serving

    async def test_to_the_node_itself(self) -> None:
        async with joined() as (network, pair):
            network.serve_protocol("greet", greet)
            stream = await network.open_stream(network.node_id, "greet")
            assert stream.connection.peer.node_id == network.node_id
            stream.write(b"myself")
            stream.write_eof()
            assert await read_all(stream) == b"hello, MYSELF"
            with pytest.raises(ProxyRefused):
                await network.open_stream(network.node_id, "other")
        assert pair.dialer.dialled == []

    async def test_to_the_node_itself_end_with_it(self) -> None:
        async with joined() as (network, _):
            network.serve_protocol("greet", greet)
            stream = await network.open_stream(network.node_id, "greet")
            await stream.read(7)
        assert await stream.read() == b""
        stream.reset()
        await asyncio.sleep(0)

    async def test_to_another_node_than_was_asked_for(self) -> None:
        async with joined() as (network, pair):
            pair.dialer.connection = pair.far
            with pytest.raises(UnclaimedNodeId):
                await network.open_stream(pair.server.node_id, "greet")

    def test_that_take_too_long(self) -> None:
        async def program() -> None:
            async with joined_in_virtual_time() as (network, node_id, dialer):
                dialer.gate.clear()
                with pytest.raises(DeadlineExceeded, match="within 15 s"):
                    await network.open_stream(node_id, "greet")
                assert dialer.cancelled == 1
                dialer.error = DeadlineExceeded("the dialer's own words")
                dialer.gate.set()
                with pytest.raises(DeadlineExceeded, match="own words"):
                    await network.open_stream(node_id, "greet")

        clock.run(program())


@asynccontextmanager
async def joined_in_virtual_time() -> AsyncIterator[tuple[NodeNetwork, NodeId, MemoryDialer]]:
    pair = ProxyPair((), None, None)
    network, _ = network_of(pair.client, pair.dialer)
    try:
        yield network, pair.server.node_id, pair.dialer
    finally:
        await network.aclose()


async def connected_through(access: ProxyAccess, authority: str) -> tuple[bytes, bytes]:
    """CONNECT and say "you"; the answer's head, and what follows it."""
    if isinstance(access.address, UnixPath):
        reader, writer = await asyncio.open_unix_connection(access.address.path)
    else:
        reader, writer = await asyncio.open_connection(access.address.host, access.address.port)
    credentials = basic(access.token) if access.token is not None else None
    writer.write(AnswerReader(authority, credentials).request + b"you")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write_eof()
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()
    return head, rest


class TestPrivateProxy:
    async def test_leads_to_peers_protocols_and_leaves_nothing_behind(self) -> None:
        async with joined() as (network, pair):
            pair.reverse.serve_protocol("greet", greet)
            access = await network.proxy()
            assert await network.proxy() == access
            assert isinstance(access.address, UnixPath)
            assert access.token is None
            directory = Path(access.address.path).parent
            assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
            target = str(builtin_authority(pair.server.node_id, "greet"))
            head, rest = await connected_through(access, target)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert rest == b"hello, YOU"
        assert not directory.exists()
        with pytest.raises(LocallyClosed):
            await network.proxy()

    async def test_without_unix_sockets_asks_for_a_token(self) -> None:
        async with proxy_pair() as pair:
            pair.reverse.serve_protocol("greet", greet)
            proxy = PrivateProxy(pair.dialer, 15.0, unix=False)
            access = await proxy.open()
            assert isinstance(access.address, Authority)
            assert access.token is not None
            assert access.token not in repr(access)
            target = str(builtin_authority(pair.server.node_id, "greet"))
            assert (await connected_through(access, target))[1] == b"hello, YOU"
            nothing = ProxyAccess(access.address, None)
            assert (await connected_through(nothing, target))[0].startswith(b"HTTP/1.1 407 ")
            await proxy.aclose()
            await proxy.aclose()

    async def test_in_a_directory_with_a_long_name_listens_on_loopback(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        long = tmp_path / ("x" * 100)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        async with proxy_pair() as pair:
            proxy = PrivateProxy(pair.dialer, 15.0)
            assert isinstance((await proxy.open()).address, Authority)
            await proxy.aclose()
        assert list(long.iterdir()) == []

    async def test_without_a_temporary_directory_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
        async with proxy_pair() as pair:
            proxy = PrivateProxy(pair.dialer, 15.0)
            with pytest.raises(ConfigError, match="TMPDIR"):
                await proxy.open()
            await proxy.aclose()


class TestReasons:
    PEER = NodeId(bytes(32))

    def test_the_latest_until_the_peer_is_connected_again(self) -> None:
        reasons = Reasons()
        assert reasons.of(self.PEER) is None
        reasons.note(DialFailed(self.PEER, "no answer"))
        assert reasons.of(self.PEER) == "no answer"
        reasons.note(ConnectionLost(self.PEER, "no pong for 15 s"))
        assert reasons.of(self.PEER) == "no pong for 15 s"
        reasons.note(ConnectionLost(self.PEER, None))
        assert reasons.of(self.PEER) == "no pong for 15 s"
        at = SocketAddress("192.0.2.1", 4)
        reasons.note(ConnectionOpened(self.PEER, "utp", at, True, 0.1))
        assert reasons.of(self.PEER) is None

    def test_are_bounded(self) -> None:
        reasons = Reasons()
        ids = [NodeId(number.to_bytes(32)) for number in range(MAX_REASONS + 1)]
        for node_id in ids:
            reasons.note(DialFailed(node_id, "no answer"))
        assert reasons.of(ids[0]) is None
        assert reasons.of(ids[1]) == reasons.of(ids[-1]) == "no answer"

    async def test_are_the_networks(self) -> None:
        async with joined() as (network, pair):
            pair.dialer.error = LookupFailed("nobody knows it")
            network.note(DialFailed(pair.server.node_id, "nobody knows it"))
            assert network.why(pair.server.node_id) == "nobody knows it"
