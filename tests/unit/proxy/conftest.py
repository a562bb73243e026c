"""Local servers, and clients that speak CONNECT by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from keynet.address import Authority
from keynet.config.values import LocalAddress, Service, UnixPath
from keynet.rpc.proxy.credentials import basic
from keynet.testing.proxies import ProxyPair

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[Service]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a local server: `await serve(handler, port=80)` gives it as a service."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []
    handlers: set[asyncio.Task[object]] = set()

    async def start(handler: Handler, port: int = 80, path: str | None = None) -> Service:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            writers.append(writer)
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)

        if path is not None:
            servers.append(await asyncio.start_unix_server(handle, path))
            return Service(port, UnixPath(path))
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return Service(port, Authority("127.0.0.1", server.sockets[0].getsockname()[1]))

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*handlers)
    for server in servers:
        await server.wait_closed()


class Client:
    """A connection to the forward proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> int:
        """The status of the proxy's answer; whatever follows the head is left to be read."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1])

    async def refusal(self) -> tuple[int, str]:
        """The status and the text of an error, after which the proxy must have closed."""
        status = await self.answer()
        return status, (await self.reader.read()).decode()

    def abort(self) -> None:
        self.writer.transport.abort()


def head(pair: ProxyPair, target: str, *fields: str) -> bytes:
    """A CONNECT head with the pair's credentials."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields]
    if pair.proxy_token is not None:
        lines.append(f"Proxy-Authorization: {basic(pair.proxy_token)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
async def dial() -> AsyncIterator[Callable[[LocalAddress], Awaitable[Client]]]:
    """Connect to a proxy and say nothing yet."""
    clients: list[Client] = []

    async def connect(address: LocalAddress) -> Client:
        if isinstance(address, UnixPath):
            streams = await asyncio.open_unix_connection(address.path)
        else:
            streams = await asyncio.open_connection(address.host, address.port)
        clients.append(Client(*streams))
        return clients[-1]

    yield connect
    for client in clients:
        client.abort()
    await asyncio.sleep(0)


@pytest.fixture
def connect(
    dial: Callable[[LocalAddress], Awaitable[Client]],
) -> Callable[..., Awaitable[Client]]:
    """Send a CONNECT for a port of the pair's server, or for any target; the answer is not read."""

    async def connect(pair: ProxyPair, port: int = 80, target: str | None = None) -> Client:
        client = await dial(pair.proxy)
        client.send(head(pair, target or f"{pair.server.node_id}.keynet:{port}"))
        return client

    return connect


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, and end when it ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@pytest.fixture(name="echo")
def echo_handler() -> Handler:
    return echo
