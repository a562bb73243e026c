"""aioquic, as its users run it: its own asyncio server and client, one stream a connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve as quic_serve
from aioquic.quic.configuration import QuicConfiguration

from benchmarks.certificate import self_signed_file
from benchmarks.stream import CHUNK, Address, ByteStream, Handler

ALPN = "benchmark"
WINDOW = 16 << 20
"""Flow control that never holds the path back."""

MOST_QUEUED = 1 << 20
"""aioquic queues without bound: wait here when a stream has more than this unsent."""


class _Stream:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stack: contextlib.AsyncExitStack | None = None,
    ) -> None:
        self._reader, self._writer, self._stack = reader, writer, stack

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        adapter: Any = self._writer.transport
        sender = adapter.protocol._quic._streams[adapter.stream_id].sender
        while len(sender._buffer) > MOST_QUEUED:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()


class _Peer:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, host: str, handler: Handler) -> Address:
        configuration = _configuration(is_client=False)
        with self_signed_file() as both:
            configuration.load_cert_chain(both, both)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(_serve_one(handler, _Stream(reader, writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server: Any = await quic_serve(host, 0, configuration=configuration, stream_handler=accept)
        return {"host": host, "port": server._transport.get_extra_info("sockname")[1]}

    async def dial(self, address: Address) -> ByteStream:
        stack = contextlib.AsyncExitStack()
        configuration = _configuration(is_client=True)
        connection = connect(address["host"], address["port"], configuration=configuration)
        protocol = await stack.enter_async_context(connection)
        reader, writer = await protocol.create_stream()
        return _Stream(reader, writer, stack)

    async def close(self) -> None:
        """Its connections are closed with their streams."""


async def _serve_one(handler: Handler, stream: ByteStream) -> None:
    with contextlib.suppress(ConnectionError, AssertionError):
        await handler(stream)


def _configuration(*, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        verify_mode=ssl.CERT_NONE,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_size=1452,
        idle_timeout=120,
    )


def make() -> _Peer:
    return _Peer()
