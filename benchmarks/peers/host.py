"""What the peers that are keynet's own share: a Host on one endpoint, a stream for each dial."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from benchmarks.stream import CHUNK, Address, ByteStream, Handler
from keynet.address import NodeId, SocketAddress
from keynet.errors import KeynetError
from keynet.identity import Identity
from keynet.transport.api import Transport
from keynet.transport.connection import Connection
from keynet.transport.host import Host
from keynet.transport.stream import Stream
from keynet.udp.endpoint import bind


class _Stream:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        return await self._stream.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._stream.write(data)
        await self._stream.drain()

    async def close(self) -> None:
        await self._stream.aclose()


class HostPeer:
    """Serves and dials with one transport. Its first use binds the endpoint."""

    def __init__(self, transport: Transport, shell: str = "auto") -> None:
        self._transport, self._shell = transport, shell
        self._identity = Identity.generate()
        self._host: Host | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, host: str, handler: Handler) -> Address:
        endpoint = await bind([SocketAddress(host, 0)], shell=self._shell)
        self._host = Host(endpoint, self._identity, [self._transport])
        self._start(self._accept(self._host, handler))
        return {
            "host": host,
            "port": endpoint.addresses[0].port,
            "node_id": str(self._identity.node_id),
        }

    async def dial(self, address: Address) -> ByteStream:
        remote = SocketAddress(address["host"], address["port"])
        if self._host is None:
            local = SocketAddress("127.0.0.1" if remote.host == "127.0.0.1" else "0.0.0.0", 0)
            endpoint = await bind([local], shell=self._shell)
            self._host = Host(endpoint, self._identity, [self._transport])
        connection = await self._host.connect(self._expected(address), remote)
        return _Stream(await connection.open_stream())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._host is not None:
            await self._host.aclose()

    def _expected(self, address: Address) -> NodeId:
        return NodeId.parse(address["node_id"])

    async def _accept(self, host: Host, handler: Handler) -> None:
        while True:
            self._start(self._serve(await host.accept(), handler))

    async def _serve(self, connection: Connection, handler: Handler) -> None:
        with contextlib.suppress(KeynetError):
            while True:
                stream = _Stream(await connection.accept_stream())
                self._start(_answer(handler, stream))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _answer(handler: Handler, stream: ByteStream) -> None:
    with contextlib.suppress(KeynetError):
        await handler(stream)
