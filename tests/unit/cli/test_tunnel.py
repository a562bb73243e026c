"""`keynet forward`'s connections, against proxies that answer well, badly and not at all."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from keynet.address import Authority, NodeId
from keynet.cli.tunnel import Way, listen
from keynet.config import UnixPath
from keynet.errors import ConfigError

TARGET = Authority.of_node(NodeId(bytes(32)), 7)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Start = Callable[[Handler], Awaitable[Authority]]


@pytest.fixture
async def proxy() -> AsyncIterator[Start]:
    """Start a fake proxy; gives where it listens."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> Authority:
            async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await handler(reader, writer)
                writer.close()

            server = await asyncio.start_server(closing, "127.0.0.1", 0)
            stack.callback(server.close)
            return Authority("127.0.0.1", server.sockets[0].getsockname()[1])

        yield start


@asynccontextmanager
async def listening(way: Way, complaints: list[str]) -> AsyncIterator[Authority]:
    listener = await listen(Authority("127.0.0.1", 0), way, complaints.append)
    assert isinstance(listener.address, Authority)
    yield listener.address
    await listener.aclose()
    await listener.wait_closed()


async def through(
    proxy: Authority, sent: bytes, token: str | None = "t"
) -> tuple[bytes | None, list[str]]:
    """What comes back to a client that sends `sent` and ends (None: its connection was broken
    off); and what was complained of."""
    complaints: list[str] = []
    way = Way(proxy, token, TARGET)
    async with listening(way, complaints) as local:
        reader, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(sent)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = None
        writer.close()
    return answer, complaints


async def test_bytes_and_ends_pass_both_ways(proxy: Start) -> None:
    heads: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbanner:")
        writer.write(await reader.read())

    answer, complaints = await through(await proxy(echo), b"x" * 300_000)
    assert answer == b"banner:" + b"x" * 300_000
    assert complaints == []
    assert heads[0].startswith(f"CONNECT {TARGET} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " in heads[0]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is no HTTP proxy"),
        (b"HTTP/1.1 200", "broke off"),
        (b"x" * 100_000, "is no HTTP proxy"),
        (b"", "broke off"),
    ],
)
async def test_proxies_that_do_not_connect(proxy: Start, said: bytes, complaint: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    got, complaints = await through(await proxy(answer), b"hello")
    assert got is None
    assert len(complaints) == 1
    assert complaint in complaints[0]


def reset(writer: asyncio.StreamWriter) -> None:
    """Break off as a program does that crashes."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_tunnel_that_breaks_is_not_told_as_an_end(proxy: Start) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await reader.readexactly(5)
        reset(writer)

    got, complaints = await through(await proxy(breaks), b"hello")
    assert got is None
    assert len(complaints) == 1


async def test_a_client_that_breaks_off_is_not_told_as_an_end(proxy: Start) -> None:
    told = asyncio.get_running_loop().create_future()

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n!")
        try:
            told.set_result(await reader.read())
        except ConnectionResetError:
            told.set_result(None)

    complaints: list[str] = []
    async with listening(Way(await proxy(listens), "t", TARGET), complaints) as local:
        reader, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(b"half of it")
        await reader.readexactly(1)
        reset(writer)
        assert await told is None


async def test_no_proxy_there() -> None:
    answer, complaints = await through(Authority("127.0.0.1", 1), b"hello")
    assert answer is None
    assert "does the node still run" in complaints[0]


async def test_a_unix_socket_is_private_and_goes_when_closed(proxy: Start, tmp_path: Path) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await reader.read()

    path = tmp_path / "forward"
    local, way = UnixPath(str(path)), Way(await proxy(greets), "t", TARGET)
    listener = await listen(local, way, print)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    await listener.aclose()
    await listener.wait_closed()
    assert os.listdir(tmp_path) == []


async def test_a_live_unix_socket_is_not_taken_over(tmp_path: Path) -> None:
    local = UnixPath(str(tmp_path / "forward"))
    way = Way(Authority("127.0.0.1", 1), None, TARGET)
    listener = await listen(local, way, print)
    with pytest.raises(ConfigError, match="in use"):
        await listen(local, way, print)
    await listener.aclose()
    await listener.wait_closed()


async def test_a_place_that_cannot_be_listened_on() -> None:
    way = Way(UnixPath("/no/such/dir/p"), None, TARGET)
    with pytest.raises(ConfigError, match="cannot listen on unix:/no/such/dir/s"):
        await listen(UnixPath("/no/such/dir/s"), way, print)
