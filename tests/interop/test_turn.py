"""TURN against others: our client with coturn, our server with aioice and coturn's own client."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aioice.turn import create_turn_endpoint

from keynet.address import SocketAddress
from keynet.relay.credentials import Credentials, SharedSecret, ephemeral
from keynet.relay.events import Allocated, AllocationLost, Loss, PeerPermitted, PeerRefused
from keynet.relay.reach import Reach
from keynet.relay.serving import RelayHost, RelayServer
from tests.interop.turn_peers import (
    LOOPBACK,
    SECRET,
    Client,
    coturn,
    echoing,
    free_port,
    running,
)

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])


def needs(program: str) -> pytest.MarkDecorator:
    missing = shutil.which(program) is None
    return pytest.mark.skipif(missing, reason=f"{program} is missing: install coturn")


def credentials(lasting: int = 3600, secret: bytes = SECRET) -> Credentials:
    return ephemeral(secret, "a-node", int(time.time()) + lasting)


@asynccontextmanager
async def our_server(*, open_to_loopback: bool = True) -> AsyncIterator[RelayServer]:
    """Our relay on loopback, both families."""
    server = RelayServer(
        SharedSecret(SECRET, time.time).password,
        [RelayHost(LOOPBACK[False]), RelayHost(LOOPBACK[True])],
        reach=Reach(["127.0.0.0/8", "::1/128"] if open_to_loopback else []),
    )
    await server.open(SocketAddress(LOOPBACK[False], 0), SocketAddress(LOOPBACK[True], 0))
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def foreign_server(directory: Path, *, ipv6: bool) -> AsyncIterator[SocketAddress]:
    port = free_port(ipv6=ipv6)
    log = directory / "log"

    def listens() -> bool:
        return log.exists() and "Total General servers" in log.read_text()

    async with running(*coturn(directory, port, ipv6=ipv6), ready=listens):
        yield SocketAddress(LOOPBACK[ipv6], port)


async def converse(client: Client, *, ipv6: bool) -> None:
    """Allocate, be permitted, and have batches echoed: first by indications, then by channel."""
    client.engine.allocate(client.now)
    client.flush()
    allocated = await client.expect(Allocated)
    assert isinstance(allocated, Allocated)
    assert allocated.relayed.is_ipv6 == ipv6
    async with echoing(ipv6=ipv6) as (peer, echo):
        assert client.engine.permit(peer, client.now)
        client.flush()
        await client.expect(PeerPermitted)
        first = [b"by indication %d" % n for n in range(3)]
        assert await client.echo(peer, first) == first
        await asyncio.sleep(0.1)  # by then the channel is bound
        batch = [bytes([n]) * 1200 for n in range(20)] + [b"the last is shorter"]
        assert sorted(await client.echo(peer, batch)) == sorted(batch)
        assert echo.sources == {allocated.relayed}


async def close(client: Client) -> None:
    client.engine.close(client.now)
    client.flush()
    lost = await client.expect(AllocationLost)
    assert isinstance(lost, AllocationLost)
    assert lost.reason is Loss.CLOSED
    assert lost.detail == "closed", "the server did not confirm it"


@needs("turnserver")
@FAMILIES
async def test_our_client_with_coturn(tmp_path: Path, ipv6: bool) -> None:
    async with (
        foreign_server(tmp_path, ipv6=ipv6) as server,
        Client(credentials(), server, ipv6=ipv6).opened() as client,
    ):
        await converse(client, ipv6=ipv6)
        await close(client)
    assert not client.engine.counters


@needs("turnserver")
async def test_coturn_refuses_wrong_credentials(tmp_path: Path) -> None:
    wrong = credentials(secret=b"some other secret")
    async with (
        foreign_server(tmp_path, ipv6=False) as server,
        Client(wrong, server, ipv6=False).opened() as client,
    ):
        client.engine.allocate(client.now)
        client.flush()
        lost = await client.expect(AllocationLost)
    assert isinstance(lost, AllocationLost)
    assert lost.reason is Loss.CREDENTIALS


@needs("turnserver")
async def test_an_earlier_allocation_of_the_socket_is_replaced(tmp_path: Path) -> None:
    """A node that restarts on its port finds its allocation from before: 437."""
    async with (
        foreign_server(tmp_path, ipv6=False) as server,
        Client(credentials(), server, ipv6=False).opened() as client,
    ):
        await converse(client, ipv6=False)
        again = Client(credentials(), server, ipv6=False)
        again._endpoint = client._endpoint
        client._endpoint.set_receiver(again)
        await converse(again, ipv6=False)
        await close(again)
        if again._timer is not None:
            again._timer.cancel()


@FAMILIES
async def test_our_client_with_our_server(ipv6: bool) -> None:
    async with our_server() as server:
        address = server.addresses[ipv6]
        async with Client(credentials(), address, ipv6=ipv6).opened() as client:
            await converse(client, ipv6=ipv6)
            await close(client)
        stats = server.stats()
        assert stats["bytes relayed"] > 2 * 20 * 1200
        assert stats["allocations now"] == 0
        assert "not sent: failed" not in stats


async def test_an_ipv6_allocation_over_ipv4() -> None:
    async with our_server() as server:
        address = server.addresses[False]
        async with Client(credentials(), address, ipv6=True).opened() as client:
            await converse(client, ipv6=True)


async def test_our_server_is_no_way_into_its_own_machine() -> None:
    async with our_server(open_to_loopback=False) as server:
        async with Client(credentials(), server.addresses[0], ipv6=False).opened() as client:
            client.engine.allocate(client.now)
            client.flush()
            await client.expect(Allocated)
            client.engine.permit(SocketAddress("127.0.0.1", 53), client.now)
            client.flush()
            refused = await client.expect(PeerRefused)
        assert isinstance(refused, PeerRefused)
        assert refused.code == 403


class _Collector(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait(data)


async def test_aioice_s_client_with_our_server() -> None:
    good = credentials()
    async with our_server() as server, echoing(ipv6=False) as (peer, echo), asyncio.timeout(20):
        transport, protocol = await create_turn_endpoint(
            _Collector, (LOOPBACK[False], server.addresses[0].port), good.username, good.password
        )
        for n in range(5):
            transport.sendto(b"hello %d" % n, (peer.host, peer.port))
            assert await protocol.received.get() == b"hello %d" % n
        assert echo.sources == {SocketAddress(*transport.get_extra_info("sockname"))}
        transport.close()
        while server.stats()["allocations now"]:  # noqa: ASYNC110 - its Refresh(0) is on the way
            await asyncio.sleep(0.02)


@needs("turnutils_uclient")
@needs("turnutils_peer")
async def test_coturn_s_client_with_our_server() -> None:
    """`turnutils_uclient` sends by channel and counts what its echo gives back."""
    port = free_port(ipv6=False)
    echo = ["turnutils_peer", "-L", "127.0.0.1", "-p", str(port)]
    async with our_server() as server, running(*echo):
        client = [
            "turnutils_uclient", "-c", "-n", "20", "-m", "1", "-l", "500",
            "-e", "127.0.0.1", "-r", str(port), "-W", SECRET.decode(), "-u", "a-node",
            "-p", str(server.addresses[0].port), "127.0.0.1",
        ]  # fmt: skip
        async with running(*client) as process, asyncio.timeout(30):
            assert process.stdout is not None
            said = (await process.stdout.read()).decode()
        assert "Total lost packets 0 (0.000000%)" in said, f"{said}\n{server.stats()}"
        assert server.stats()["datagrams relayed"] >= 40
