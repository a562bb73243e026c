"""Two nodes' proxies joined in memory, to test bindings and services without UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from keynet.address import Authority
from keynet.config.values import Allow, LocalAddress, Service
from keynet.errors import ClosedError
from keynet.identity import Identity
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.forward import ForwardProxy
from keynet.rpc.proxy.reverse import ReverseProxy
from keynet.rpc.proxy.services import Access, Services
from keynet.testing.streams import MemoryConnection, connected

TOKEN = "a-token-for-tests"


class MemoryDialer:
    """Gives out one connection; can be told to wait or to fail."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self.error: BaseException | None = None
        """Raised by every dial, once it may go on."""
        self.gate = asyncio.Event()
        """Cleared, it holds every dial up."""
        self.gate.set()
        self.dialled: list[Target] = []
        self.cancelled = 0

    async def connect(self, target: Target) -> MemoryConnection:
        self.dialled.append(target)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.connection


class ProxyPair:
    """A client's node with a forward proxy, and a server's with a reverse one."""

    def __init__(self, services: Iterable[Service], access: Access | None, token: str | None):
        self.client = Identity.generate()
        self.server = Identity.generate()
        self.near, self.far = connected(self.client, self.server)
        self.dialer = MemoryDialer(self.near)
        permitted = access or Access([Allow(self.client.node_id, None)])
        self.reverse = ReverseProxy({self.server.node_id}, Services(services), permitted)
        self.proxy_token = token
        self.forward: ForwardProxy
        self.proxy: LocalAddress


async def serve_streams(connection: MemoryConnection, reverse: ReverseProxy) -> None:
    """Serve what the other end of a connection opens, until it is lost."""
    async with asyncio.TaskGroup() as streams:
        while True:
            try:
                stream = await connection.accept_stream()
            except ClosedError:
                return
            streams.create_task(reverse.serve(stream))


@asynccontextmanager
async def proxy_pair(
    *services: Service,
    access: Access | None = None,
    token: str | None = TOKEN,
    listen: LocalAddress | None = None,
    **settings: Any,
) -> AsyncIterator[ProxyPair]:
    """Run a pair. The client may reach everything unless `access` says otherwise.

    `settings` are the forward proxy's.
    """
    pair = ProxyPair(services, access, token)
    pair.forward = ForwardProxy(pair.dialer, token=token, **settings)
    pair.proxy = await pair.forward.listen(listen or Authority("127.0.0.1", 0))
    serving = asyncio.ensure_future(serve_streams(pair.far, pair.reverse))
    try:
        yield pair
    finally:
        await pair.forward.aclose()
        await pair.reverse.aclose()
        pair.near.lose("the test is over")
        await asyncio.gather(serving, return_exceptions=True)
