"""Nodes on loopback, a local echo server, and a client that says CONNECT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from keynet.address import Authority, NodeId
from keynet.config import Config, read
from keynet.config.values import UnixPath
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.proxy.credentials import basic

MakeNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A local server that gives back what it gets."""
    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()


def settings(**flags: object) -> Config:
    return read(None, {"listen": ["127.0.0.1:0"], **flags})


@pytest.fixture
async def make_node() -> AsyncIterator[MakeNode]:
    """`await make_node(expose=[…], …)`: a started node without a state directory."""
    async with AsyncExitStack() as stack:

        async def make(**flags: object) -> Node:
            return await stack.enter_async_context(
                Node(settings(**flags), identity=Identity.generate())
            )

        yield make


async def connect_through(
    node: Node, peer: NodeId, port: int
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """CONNECT through a node's forward proxy: the status, and the connection."""
    target = Authority.of_node(peer, port)
    if isinstance(node.proxy, UnixPath):
        reader, writer = await asyncio.open_unix_connection(node.proxy.path)
    else:
        assert node.proxy is not None
        reader, writer = await asyncio.open_connection(node.proxy.host, node.proxy.port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if node.proxy_token is not None:
        lines.append(f"Proxy-Authorization: {basic(node.proxy_token)}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), reader, writer


async def echoed(node: Node, peer: NodeId, port: int, data: bytes = b"hello") -> bytes:
    """Send `data` through the proxy to an echo service, end, and read all that comes back."""
    status, reader, writer = await connect_through(node, peer, port)
    assert status == 200
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def at(node: Node) -> str:
    """A node as a static peer: `NODEID@HOST:PORT`."""
    return f"{node.node_id}@{node.endpoint.addresses[0]}"
