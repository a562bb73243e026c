"""Connections stay on their peers' links: NATs reboot, paths get better, peers vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keynet.address import SocketAddress
from keynet.errors import ConnectionLost
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.link_events import LinkEvent, LinkLost, PathSelected
from keynet.signalling.links import Links
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.nat import FULL_CONE, Nat
from keynet.testing.transport.hosts import ask, echoing
from keynet.testing.transport.scene import identity, payload
from keynet.transport.connection import Connection
from keynet.transport.host import IDLE_TIMEOUT, Host
from keynet.transport.utp import transport

ADDRESS = SocketAddress("198.51.2.2", 4000)


class Pair:
    """A dialer behind a NAT, and a listener in the internet."""

    def __init__(self) -> None:
        self.net = FakeNet(1, LinkModel(latency=0.02))
        self.nat = Nat(FULL_CONE, "198.51.1.1")
        self.home = self.net.endpoint(SocketAddress("192.168.1.2", 4000), behind=self.nat)
        self.public = self.net.endpoint(ADDRESS)
        self.dialer = Host(self.home, identity("dialer"), [transport()])
        self.listener = Host(self.public, identity("listener"), [transport()])

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


def link_of(links: Links, host: Host):
    return links.get(host.identity.node_id)


def test_a_connection_has_a_link_that_is_held_for_as_long():
    async def program(pair: Pair) -> None:
        connection = await pair.connect()
        await asyncio.sleep(1)
        assert link_of(pair.dialer.links, pair.listener).path.remote == ADDRESS
        assert link_of(pair.listener.links, pair.dialer).path.remote == connection_end(pair)
        assert 0.03 < link_of(pair.dialer.links, pair.listener).rtt < 0.06
        await connection.aclose()
        assert len(pair.dialer.links) == 0

    between(program)


def connection_end(pair: Pair) -> SocketAddress:
    [connection] = pair.listener.connections
    return connection.remote


def test_a_stream_survives_a_nat_that_reboots_in_the_midst_of_it():
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
        assert connection_end(pair).host == "198.51.77.1"

    between(program)


def test_an_idle_connection_follows_its_peer_to_a_new_address():
    async def program(pair: Pair) -> None:
        connection = await pair.connect()
        kept = await connection.open_stream()
        kept.write(b"before")
        assert await kept.read() == b"before"
        await asyncio.sleep(5)
        pair.nat.reboot("198.51.77.1")
        await asyncio.sleep(20)
        assert connection_end(pair).host == "198.51.77.1"
        kept.write(b"after")
        assert await kept.read() == b"after"
        assert await ask(connection, b"a new stream, too") == b"a new stream, too"

    between(program)


def test_a_better_path_takes_over_without_a_word_to_the_streams():
    async def program(pair: Pair) -> None:
        faster = SocketAddress("198.51.3.3", 4000)
        pair.net.move(pair.public, ADDRESS, faster)
        for here, there in (("198.51.1.1", faster.host), (faster.host, "198.51.1.1")):
            pair.net._models[here, there] = LinkModel(latency=0.002)
        connection = await pair.connect()
        stream = await connection.open_stream()
        dialer, listener = pair.dialer.links, pair.listener.identity.node_id
        dialer.punch(listener, [candidate(CandidateKind.HOST, faster)])
        for number in range(100):
            stream.write(b"%03d" % number)
            assert await stream.read() == b"%03d" % number
            await asyncio.sleep(0.1)
        if link_of(dialer, pair.listener).controlling:
            assert connection.remote == faster
        assert connection.error is None

    between(program)


def test_a_peer_that_vanishes_ends_its_streams_in_time_and_with_the_reason():
    async def program(pair: Pair) -> None:
        told: list[LinkEvent] = []
        pair.dialer.link_watchers.append(lambda link, event: told.append(event))
        connection = await pair.connect()
        stream = await connection.open_stream()
        stream.write(b"hello")
        assert await stream.read() == b"hello"
        await asyncio.sleep(60)
        pair.public.close()
        gone_at = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionLost, match="has not been heard for 15 s"):
            await stream.read()
        assert asyncio.get_running_loop().time() - gone_at <= 15.1
        assert isinstance(told[-1], LinkLost)
        assert len(pair.dialer.links) == 0
        assert pair.dialer.connections == ()

    between(program)


def test_a_link_that_was_punched_is_dialled_over_and_dropped_when_nobody_wants_it():
    async def program(pair: Pair) -> None:
        listener, dialer = pair.listener.identity.node_id, pair.dialer.identity.node_id
        opened = asyncio.Event()

        def watch(link: object, event: LinkEvent) -> None:
            if isinstance(event, PathSelected):
                opened.set()

        pair.dialer.link_watchers.append(watch)
        pair.dialer.links.punch(listener, [candidate(CandidateKind.STATIC, ADDRESS)])
        pair.listener.links.to(dialer)
        await opened.wait()
        connection = await pair.connect()
        assert connection.attachment.link is pair.dialer.links.get(listener)
        assert await ask(connection, b"hello") == b"hello"
        await connection.aclose()
        assert pair.dialer.links.get(listener) is None
        pair.dialer.links.punch(listener, [candidate(CandidateKind.STATIC, ADDRESS)])
        await asyncio.sleep(IDLE_TIMEOUT + 10)
        assert pair.dialer.links.get(listener) is None

    between(program)
