"""QUIC under the real host: what its connection ids are good for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from keynet_quic import transport

from keynet.address import SocketAddress
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.nat import FULL_CONE, Nat
from keynet.testing.transport.hosts import ask, echoing
from keynet.testing.transport.scene import identity, payload
from keynet.transport.connection import Connection
from keynet.transport.host import Host
from keynet.transport.utp import transport as utp

HOME = SocketAddress("192.168.1.2", 4000)
ADDRESS = SocketAddress("198.51.2.2", 4000)


class Pair:
    """A dialer behind a NAT, and a listener in the internet. Both speak uTP, too."""

    def __init__(self) -> None:
        self.net = FakeNet(1, LinkModel(latency=0.02))
        self.nat = Nat(FULL_CONE, "198.51.1.1")
        self.home = self.net.endpoint(HOME, behind=self.nat)
        self.public = self.net.endpoint(ADDRESS)
        self.dialer = Host(self.home, identity("dialer"), [transport(), utp()])
        self.listener = Host(self.public, identity("listener"), [transport(), utp()])

    def nat_address(self) -> SocketAddress:
        """What the listener sees of the dialer."""
        [connection] = self.listener.connections
        return connection.remote

    async def connect(self) -> Connection:
        return await self.dialer.connect(self.listener.identity.node_id, ADDRESS)


def between(program: Callable[[Pair], Awaitable[None]]) -> None:
    async def whole() -> None:
        pair = Pair()
        try:
            async with echoing(pair.listener):
                await program(pair)
        finally:
            await asyncio.gather(pair.dialer.aclose(), pair.listener.aclose())
            pair.home.close()
            pair.public.close()

    run(whole())


def test_a_stream_survives_a_nat_that_reboots_in_the_midst_of_it() -> None:
    async def program(pair: Pair) -> None:
        stream = await (await pair.connect()).open_stream()
        data = payload(3_000_000)
        answer = bytearray()

        async def read() -> None:
            while piece := await stream.read():
                answer.extend(piece)
                if len(answer) > 500_000 and pair.nat.outside == "198.51.1.1":
                    pair.nat.reboot("198.51.77.1")

        reading = asyncio.create_task(read())
        for at in range(0, len(data), 65536):
            stream.write(data[at : at + 65536])
            await stream.drain()
        stream.write_eof()
        await reading
        assert bytes(answer) == data
        [connection] = pair.listener.connections
        assert connection.remote.host == "198.51.77.1"

    between(program)


def test_what_comes_from_a_new_address_is_taken_before_the_path_is_validated() -> None:
    async def program(pair: Pair) -> None:
        stream = await (await pair.connect()).open_stream()
        stream.write(b"before")
        assert await stream.read() == b"before"
        [there] = pair.listener.connections
        taken = there.stats()["received"]
        pair.nat.reboot("198.51.77.1")
        stream.write(b"after")
        await asyncio.sleep(0.1)
        assert there.remote.host == "198.51.1.1"
        assert there.stats()["received"] == int(taken) + len(b"after")

    between(program)


def test_a_node_that_was_restarted_dials_from_the_port_it_had() -> None:
    async def program(pair: Pair) -> None:
        await ask(await pair.connect(), b"from the first life")
        [before] = pair.listener.connections
        pair.home.close()  # no goodbye
        home = pair.net.endpoint(HOME, behind=pair.nat)
        again = Host(home, identity("dialer"), [transport(), utp()])
        try:
            async with asyncio.timeout(3):
                connection = await again.connect(pair.listener.identity.node_id, ADDRESS)
                assert await ask(connection, b"from the second") == b"from the second"
            current = pair.listener.connection(again.identity.node_id)
            assert current is not None
            assert current is not before
        finally:
            await again.aclose()
            home.close()

    between(program)


def test_nodes_that_dial_each_other_at_once_have_a_call_each() -> None:
    async def program(pair: Pair) -> None:
        await ask(await pair.connect(), b"open the NAT")
        at = pair.nat_address()
        await (await pair.connect()).aclose()
        await asyncio.sleep(2)
        async with echoing(pair.dialer):
            there = pair.listener.connect(pair.dialer.identity.node_id, at)
            both = await asyncio.gather(pair.connect(), there)
            answers = await asyncio.gather(*(ask(one, payload(20_000)) for one in both))
            assert answers == [payload(20_000)] * 2

    between(program)


def test_no_id_is_left_behind() -> None:
    async def program(pair: Pair) -> None:
        connection = await pair.connect()
        await ask(connection, b"hello")
        [there] = pair.listener.connections
        assert len(connection.ids) == 8
        assert len(there.ids) == 9  # and the one that the dialer made up
        assert len(pair.dialer._demux._ids) == 8
        await connection.aclose()
        await asyncio.sleep(1)
        assert pair.dialer._demux._ids == {}
        assert pair.listener._demux._ids == {}

    between(program)
