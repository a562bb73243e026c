"""keynet's uTP without TLS, on a real socket, as foreign uTP programs expect it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.identity import Identity, verify_chain
from keynet.testing.plain import PlainUtp
from keynet.transport.host import Host
from keynet.transport.stream import Stream
from keynet.udp.endpoint import bind

CHUNK = 65536
LOOPBACK = SocketAddress("127.0.0.1", 0)
FOREIGN_MTU = 1472
"""libutp and libtorrent read datagrams into buffers made for Ethernet."""


class BareUtp:
    """One end that speaks plain uTP; the other is a foreign program, one per BareUtp."""

    def __init__(self, host: Host, foreigner: Identity, address: SocketAddress) -> None:
        self._host, self._foreigner, self.address = host, foreigner, address

    async def dial(self, remote: SocketAddress) -> Stream:
        """Open the one stream to a foreign program."""
        connection = await self._host.connect(self._foreigner.node_id, remote)
        return await connection.open_stream()

    async def accept(self) -> Stream:
        """Wait for the one stream of a foreign program."""
        connection = await self._host.accept()
        return await connection.accept_stream()


@asynccontextmanager
async def bare_utp(congestion: str = "bbr") -> AsyncIterator[BareUtp]:
    """Bind an ephemeral port on loopback. Foreign programs have no identity, so one is made up."""
    foreigner = Identity.generate()
    transport = PlainUtp(verify_chain(foreigner.chain, None), congestion, max_packet=FOREIGN_MTU)
    endpoint = await bind([LOOPBACK])
    host = Host(endpoint, Identity.generate(), [transport])
    try:
        yield BareUtp(host, foreigner, endpoint.addresses[0])
    finally:
        await host.aclose()
        endpoint.close()


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What went over a stream, by hash."""

    sent_sha256: str
    received_sha256: str
    received: int


async def exchange(stream: Stream, size: int) -> Exchanged:
    """Send `size` random bytes and the end, while reading to the other side's end."""
    sent, received, arrived = hashlib.sha256(), hashlib.sha256(), 0

    async def send() -> None:
        for start in range(0, size, CHUNK):
            chunk = os.urandom(min(CHUNK, size - start))
            sent.update(chunk)
            stream.write(chunk)
            await stream.drain()
        stream.write_eof()

    sending = asyncio.create_task(send())
    try:
        while data := await stream.read():
            received.update(data)
            arrived += len(data)
        await sending
    finally:
        sending.cancel()
    await stream.aclose()
    return Exchanged(sent.hexdigest(), received.hexdigest(), arrived)
