"""How many connections a host keeps, and who has to go for a newcomer."""

from __future__ import annotations

import asyncio

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import LocallyClosed
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.testing.transport.hosts import ask, echoing
from keynet.testing.transport.scene import identity
from keynet.transport.connection import Connection
from keynet.transport.crowd import Limits, network
from keynet.transport.host import FULL_FOR, Host
from keynet.transport.utp import transport
from keynet.transport.utp.packet import PacketType, encode
from keynet.udp.path import Path

NODE = identity("listener").node_id


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_network_is_one_ipv4_address_or_one_ipv6_64(one: str, other: str, same: bool) -> None:
    places = {network(SocketAddress(host, n)) for n, host in enumerate((one, other))}
    assert len(places) == (1 if same else 2)


class Town:
    """A listener with small limits, and dialers at addresses of their choice."""

    def __init__(self, limits: Limits) -> None:
        self.net = FakeNet()
        self.endpoints = [self.net.endpoint()]
        self.hosts = [Host(self.endpoints[0], identity("listener"), [transport()], limits)]
        self.listener = self.hosts[0]

    def dialer(self, host: str, port: int) -> Host:
        endpoint: FakeEndpoint = self.net.endpoint(SocketAddress(host, port))
        self.endpoints.append(endpoint)
        self.hosts.append(Host(endpoint, identity(f"dialer {host} {port}"), [transport()]))
        return self.hosts[-1]

    async def connect(self, dialer: Host) -> Connection:
        """A connection that has been used once, and rests."""
        async with asyncio.timeout(5):
            connection = await dialer.connect(NODE, self.endpoints[0].addresses[0])
            assert await ask(connection, b"hello") == b"hello"
            return connection

    def syn(self, source: SocketAddress) -> None:
        first = encode(PacketType.SYN, 100, 0, 0, 1 << 20, 1, 0)
        now = asyncio.get_running_loop().time()
        self.listener.datagrams_received(Datagrams(first), Path(source), now)

    async def aclose(self) -> None:
        await asyncio.gather(*(host.aclose() for host in self.hosts))
        for endpoint in self.endpoints:
            endpoint.close()


@pytest.mark.parametrize("limits", [Limits(3, 100), Limits(100, 3)])
def test_the_connection_that_rested_longest_makes_room(limits: Limits) -> None:
    async def program() -> None:
        town = Town(limits)
        async with echoing(town.listener):
            dialers = [town.dialer("192.0.2.1", 5000 + n) for n in range(6)]
            connections = []
            for dialer in dialers[:3]:
                connections.append(await town.connect(dialer))
                await asyncio.sleep(0.1)
            assert await ask(connections[0], b"the first is used again") != b""
            await asyncio.sleep(0.1)
            await town.connect(dialers[3])
            left = {one.peer.node_id for one in town.listener.connections}
            assert left == {dialers[n].identity.node_id for n in (0, 2, 3)}
        await town.aclose()

    run(program())


@pytest.mark.parametrize("limits", [Limits(3, 100), Limits(100, 3)])
def test_nobody_at_work_has_to_go(limits: Limits) -> None:
    async def program() -> None:
        town = Town(limits)
        async with echoing(town.listener):
            dialers = [town.dialer("192.0.2.1", 5000 + n) for n in range(4)]
            streams = []
            for dialer in dialers[:3]:
                streams.append(await (await town.connect(dialer)).open_stream())
                streams[-1].write(b"x")
                assert await streams[-1].read() == b"x"
            with pytest.raises(TimeoutError):
                await town.connect(dialers[3])
            assert town.listener.stats()["turned away"] > 0
            for stream in streams:
                stream.write(b"y")
                assert await stream.read() == b"y"
            streams[1].reset()
            await asyncio.sleep(2 * FULL_FOR)
            await town.connect(dialers[3])
        await town.aclose()

    run(program())


def test_others_are_let_in_when_one_network_has_its_share() -> None:
    async def program() -> None:
        town = Town(Limits(100, 2))
        async with echoing(town.listener):
            for n in range(2):
                stream = await (
                    await town.connect(town.dialer("192.0.2.1", 5000 + n))
                ).open_stream()
                stream.write(b"x")
            await asyncio.sleep(0.1)
            for host in ("192.0.2.2", "192.0.2.3"):
                await town.connect(town.dialer(host, 5000))
            assert len(town.listener.connections) == 4
        await town.aclose()

    run(program())


def test_what_we_dialled_stays_and_is_never_refused() -> None:
    async def program() -> None:
        town = Town(Limits(2, 2))
        async with echoing(town.listener):
            others = [town.dialer("192.0.2.1", 5000 + n) for n in range(4)]
            for other in others[:3]:
                remote = SocketAddress("192.0.2.1", 5000 + others.index(other))
                await town.listener.connect(other.identity.node_id, remote)
            with pytest.raises(TimeoutError):
                await town.connect(others[3])
            assert len(town.listener.connections) == 3
        await town.aclose()

    run(program())


def test_forged_first_datagrams_push_out_only_each_other() -> None:
    async def program() -> None:
        town = Town(Limits(100, 4))
        async with echoing(town.listener):
            dialers = [town.dialer("192.0.2.1", 5000 + n) for n in range(2)]
            resting = await town.connect(dialers[0])
            for port in range(1000):
                town.syn(SocketAddress("192.0.2.1", 10_000 + port))
            assert town.listener.stats()["provisional"] == 3
            await town.connect(dialers[1])
            assert await ask(resting, b"still") == b"still"
            assert not resting.closed
        await town.aclose()

    run(program())


def test_who_was_let_go_is_told_nothing_and_comes_back() -> None:
    async def program() -> None:
        town = Town(Limits(1, 1))
        async with echoing(town.listener):
            dialers = [town.dialer("192.0.2.1", 5000 + n) for n in range(2)]
            first = await town.connect(dialers[0])
            await asyncio.sleep(1)
            [inbound] = town.listener.connections
            await town.connect(dialers[1])
            assert isinstance(inbound.error, LocallyClosed)
            await asyncio.sleep(1)
            assert await ask(first, b"again") == b"again"
        await town.aclose()

    run(program())
