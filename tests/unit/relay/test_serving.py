"""The relay's shell on loopback: sockets come and go with allocations."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.relay.client import TurnClient
from keynet.relay.credentials import SharedSecret, ephemeral
from keynet.relay.events import Allocated, AllocationLost, ClientEvent, DataReceived, Loss
from keynet.relay.reach import Reach
from keynet.relay.serving import RelayHost, RelayServer
from keynet.udp.api import Endpoint
from keynet.udp.endpoint import bind
from keynet.udp.path import Path

SECRET = b"known to servers"
HERE = SocketAddress("127.0.0.1", 0)
PASSWORD_OF = SharedSecret(SECRET, time.time).password


class Shell:
    """The least that a client needs around it."""

    def __init__(self, endpoint: Endpoint, server: SocketAddress) -> None:
        self.client = TurnClient(
            ephemeral(SECRET, "node", int(time.time()) + 60), secrets.token_bytes
        )
        self.endpoint, self.server = endpoint, Path(server)
        self.events: asyncio.Queue[ClientEvent] = asyncio.Queue()

    def flush(self) -> None:
        for datagrams in self.client.datagrams_to_send(time.monotonic()):
            self.endpoint.send(datagrams, self.server)
        while (event := self.client.next_event()) is not None:
            self.events.put_nowait(event)

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.client.receive(datagrams, time.monotonic())

    def drained(self, now: float) -> None:
        self.flush()

    async def allocate(self) -> ClientEvent:
        self.endpoint.set_receiver(self)
        self.client.allocate(time.monotonic())
        self.flush()
        return await self.next()

    async def next(self) -> ClientEvent:
        async with asyncio.timeout(10):
            return await self.events.get()


async def test_two_clients_meet_at_the_relay() -> None:
    server = RelayServer(PASSWORD_OF, [RelayHost("127.0.0.1")], reach=Reach(["127.0.0.1/32"]))
    await server.open(HERE)
    endpoints = [await bind((HERE,)) for _ in range(2)]
    try:
        one, two = (Shell(endpoint, server.addresses[0]) for endpoint in endpoints)
        allocations = [await one.allocate(), await two.allocate()]
        assert all(isinstance(found, Allocated) for found in allocations)
        addresses = [found.relayed for found in allocations]
        for shell, peer in ((one, addresses[1]), (two, addresses[0])):
            assert shell.client.permit(peer, time.monotonic())
            shell.flush()
            await shell.next()
        batch = [bytes([n]) * 1000 for n in range(10)]
        assert one.client.send(Datagrams(b"".join(batch), 1000), addresses[1], time.monotonic())
        one.flush()
        received: list[bytes] = []
        while len(received) < len(batch):
            event = await two.next()
            assert isinstance(event, DataReceived)
            assert event.peer == addresses[0]
            received += [bytes(found) for found in event.datagrams]
        assert received == batch
        assert len(server._sockets) == 3
        two.client.close(time.monotonic())
        two.flush()
        assert await two.next() == AllocationLost(Loss.CLOSED, "closed")
        assert len(server._sockets) == 2
    finally:
        for endpoint in endpoints:
            endpoint.close()
        await server.close()
        await server.close()
    assert not server.addresses


async def test_a_host_that_is_not_there_is_no_capacity() -> None:
    server = RelayServer(PASSWORD_OF, [RelayHost("192.0.2.1")])
    await server.open(HERE)
    endpoint = await bind((HERE,))
    try:
        lost = await Shell(endpoint, server.addresses[0]).allocate()
        assert isinstance(lost, AllocationLost)
        assert lost.reason is Loss.CAPACITY
    finally:
        endpoint.close()
        await server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "relay.example", ""])
def test_peers_must_be_able_to_reach_the_host(host: str) -> None:
    with pytest.raises(ConfigError):
        RelayHost(host)


def test_a_wildcard_will_do_where_another_address_is_announced() -> None:
    assert RelayHost("0.0.0.0", announced="198.41.0.4").announced


async def test_hosts_are_one_of_a_family() -> None:
    with pytest.raises(ConfigError, match="one IPv4"):
        await RelayServer(PASSWORD_OF, []).open(HERE)
    with pytest.raises(ConfigError, match="one IPv4"):
        await RelayServer(PASSWORD_OF, [RelayHost("127.0.0.1")] * 2).open(HERE)
