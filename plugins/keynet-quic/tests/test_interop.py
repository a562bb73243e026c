"""aioquic's own client and server, over real sockets on loopback, with nodes at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from keynet_quic import transport

from keynet.address import SocketAddress
from keynet.identity import Identity
from keynet.testing.transport.hosts import ask, echoing
from keynet.testing.transport.scene import identity, payload
from keynet.transport.host import Host
from keynet.udp.endpoint import bind

LOOPBACK = SocketAddress("127.0.0.1", 0)
DATA = payload(500_000)


def plain(local: Identity, *, is_client: bool) -> QuicConfiguration:
    """aioquic's settings with a node's certificate, and nothing else of keynet."""
    settings = QuicConfiguration(is_client=is_client, alpn_protocols=["keynet/1"], verify_mode=0)
    settings.certificate, *settings.certificate_chain = local.chain
    settings.private_key = local.private_key
    return settings


@asynccontextmanager
async def node(name: str) -> AsyncIterator[tuple[Host, SocketAddress]]:
    endpoint = await bind((LOOPBACK,))
    host = Host(endpoint, identity(name), [transport()])
    try:
        yield host, endpoint.addresses[0]
    finally:
        await host.aclose()
        endpoint.close()


async def test_a_plain_client_calls_a_node() -> None:
    async with node("listener") as (host, address), echoing(host):
        settings = plain(identity("dialer"), is_client=True)
        async with connect("127.0.0.1", address.port, configuration=settings) as client:
            reader, writer = await client.create_stream()
            writer.write(DATA)
            writer.write_eof()
            async with asyncio.timeout(20):
                assert await reader.read() == DATA
            [connection] = host.connections
            assert connection.peer.node_id == identity("dialer").node_id
            assert connection.peer.chain == identity("dialer").chain


async def test_a_node_calls_a_plain_server() -> None:
    def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def run() -> None:
            writer.write(await reader.read())
            writer.write_eof()

        echoes.append(asyncio.ensure_future(run()))

    class Asking(QuicConnectionProtocol):
        """A server that asks for the client's certificate, for which aioquic has no switch."""

        def __init__(self, quic: QuicConnection, **options: object) -> None:
            super().__init__(quic, stream_handler=echo)
            initialize = quic._initialize

            def asking(peer_cid: bytes) -> None:
                initialize(peer_cid)
                quic.tls._request_client_certificate = True

            vars(quic)["_initialize"] = asking
            servers.append(quic)

    echoes: list[asyncio.Future[None]] = []
    servers: list[QuicConnection] = []
    settings = plain(identity("listener"), is_client=False)
    server = await serve("127.0.0.1", 0, configuration=settings, create_protocol=Asking)
    assert server._transport is not None
    port = server._transport.get_extra_info("sockname")[1]
    try:
        async with node("dialer") as (host, _), asyncio.timeout(20):
            there = SocketAddress("127.0.0.1", port)
            connection = await host.connect(identity("listener").node_id, there)
            assert await ask(connection, DATA) == DATA
        (seen,) = servers
        assert seen.tls._peer_certificate == identity("dialer").chain[0]
    finally:
        await asyncio.gather(*echoes)
        server.close()
