"""Kernel TCP with the standard library's TLS 1.3 over asyncio streams: the plain alternative."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from benchmarks.certificate import self_signed_file
from benchmarks.stream import CHUNK, Address, ByteStream, Handler


class _Stream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Peer:
    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def serve(self, host: str, handler: Handler) -> Address:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with self_signed_file() as both:
            context.load_cert_chain(both)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await handler(_Stream(reader, writer))

        self._server = await asyncio.start_server(accept, host, 0, ssl=context, limit=4 * CHUNK)
        return {"host": host, "port": self._server.sockets[0].getsockname()[1]}

    async def dial(self, address: Address) -> ByteStream:
        reader, writer = await asyncio.open_connection(
            address["host"], address["port"], ssl=self._context, limit=4 * CHUNK
        )
        return _Stream(reader, writer)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()


def make() -> _Peer:
    return _Peer()
