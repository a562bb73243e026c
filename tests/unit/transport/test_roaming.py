"""Connections stay on their peers' links: NATs reboot, paths get better, peers vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.errors import ConnectionLost, KeyMismatch, KeynetError
from keynet.signalling import links as links_module
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


@pytest.mark.parametrize("times", [1, 2, 12])
@pytest.mark.parametrize("who", ["dialer", "listener", "both"])
def test_a_link_goes_on_under_a_newer_identity_of_either_side(who, times):
    async def program(pair: Pair) -> None:
        connection = await pair.connect()
        kept = await connection.open_stream()
        for number in range(times):
            for name in ("dialer", "listener"):
                if who in (name, "both"):
                    host: Host = getattr(pair, name)
                    host.identity = host.identity.rotate()
            kept.write(b"old")
            assert await kept.read() == b"old"
            assert await ask(connection, b"new %d" % number) == b"new %d" % number
            await asyncio.sleep(40)
        assert connection.error is None
        for host, other in ((pair.dialer, pair.listener), (pair.listener, pair.dialer)):
            [link] = host.links
            assert link.peer == other.identity.node_id
            assert link.local == host.identity.node_id
            assert asyncio.get_running_loop().time() - link.heard_at < 6.5
        pair.nat.reboot("198.51.77.1")
        await asyncio.sleep(20)
        kept.write(b"still")
        assert await kept.read() == b"still"

    between(program)


def two_public(seed: int) -> tuple[FakeNet, list[Host], list[list[SocketAddress]]]:
    """Two hosts in the internet, each with an IPv4 and an IPv6 address."""
    net = FakeNet(seed, LinkModel(latency=0.02, jitter=0.015))
    hosts, addresses = [], []
    for n in (1, 2):
        four, six = SocketAddress(f"198.51.{n}.1", 4000), SocketAddress(f"2001:db8::{n}", 4000)
        endpoint = net.endpoint(four)
        net.move(endpoint, four, six)
        hosts.append(Host(endpoint, identity(f"host {n}"), [transport()]))
        addresses.append([four, six])
    return net, hosts, addresses


def among_two(
    program: Callable[[list[Host], list[list[SocketAddress]]], Awaitable[None]], seed: int = 1
) -> None:
    async def whole() -> None:
        _, hosts, addresses = two_public(seed)
        try:
            async with echoing(hosts[0]), echoing(hosts[1]):
                await program(hosts, addresses)
        finally:
            for host in hosts:
                host._endpoint.close()

    run(whole())


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("closer", [0, 1])
def test_of_two_connections_of_one_peer_the_other_inherits_the_link(first, closer):
    async def program(hosts: list[Host], at: list[list[SocketAddress]]) -> None:
        a, b = hosts
        await asyncio.gather(
            a.connect(b.identity.node_id, at[1][0]), b.connect(a.identity.node_id, at[0][1])
        )
        await asyncio.sleep(1)
        assert len(a.connections) == len(b.connections) == 2
        for number, one in enumerate((*a.connections, *b.connections)):
            assert await ask(one, b"%d" % number) == b"%d" % number
        ended = next(one for one in hosts[closer].connections if one.dialed is bool(first))
        await ended.aclose()
        await asyncio.sleep(40)
        [left] = hosts[closer].connections
        mirror = next(o for o in hosts[1 - closer].connections if o.dialed is not left.dialed)
        for one, host in ((left, hosts[closer]), (mirror, hosts[1 - closer])):
            assert await ask(one, b"still here") == b"still here"
            [link] = host.links
            assert one.attachment.link is link
            assert asyncio.get_running_loop().time() - link.heard_at < 6.5

    among_two(program)


@pytest.mark.parametrize("seed", range(50))
def test_after_a_simultaneous_punch_both_sides_call_at_once_and_no_call_is_lost(seed):
    async def program(hosts: list[Host], at: list[list[SocketAddress]]) -> None:
        opened = [asyncio.Event(), asyncio.Event()]
        for host, event in zip(hosts, opened, strict=True):
            host.link_watchers.append(lambda link, _, event=event: link.path and event.set())

        async def call(me: int) -> bytes:
            here, there = hosts[me].links, hosts[1 - me].identity.node_id
            tell = [candidate(CandidateKind.HOST, one, n) for n, one in enumerate(at[1 - me])]
            here.punch(there, tell)
            await opened[me].wait()
            connection = await hosts[me].connect(there, here.get(there).path.remote)
            return await ask(connection, b"%d" % me)

        assert await asyncio.gather(call(0), call(1)) == [b"0", b"1"]
        await asyncio.sleep(30)
        for host in hosts:
            assert 1 <= len(host.connections) <= 2
            assert all(one.error is None for one in host.connections)
            assert len(host.links) == 1
        await asyncio.gather(*(one.aclose() for one in hosts[0].connections))
        await asyncio.sleep(IDLE_TIMEOUT + 10)
        assert not any(host.connections or len(host.links) for host in hosts)

    among_two(program, seed)


def test_a_peer_whose_id_agrees_on_no_key_loses_its_connection_and_harms_nobody(monkeypatch):
    """Such ids pass for Ed25519 keys: their points are of small order."""

    def refuse(own: object, peer: NodeId) -> bytes:
        raise KeyMismatch(f"{peer.short} is not the id of an Ed25519 key")

    async def program(pair: Pair) -> None:
        monkeypatch.setattr(links_module, "ping_key", refuse)
        with pytest.raises(KeynetError):
            await ask(await pair.connect(), b"hello")
        await asyncio.sleep(1)
        assert not pair.listener.connections
        monkeypatch.undo()
        assert await ask(await pair.connect(), b"hello") == b"hello"

    between(program)


@pytest.mark.parametrize("narrow", [1240, 1472])
def test_bulk_survives_a_path_that_gets_better_worse_and_narrower(narrow):
    """Slow at first, as over a relay; then directly, in smaller packets; then back, by silence."""

    async def program(pair: Pair) -> None:
        faster = SocketAddress("198.51.3.3", 4000)
        pair.net.move(pair.public, ADDRESS, faster)
        ways = [("198.51.1.1", faster.host), (faster.host, "198.51.1.1")]
        for here, there in ways:
            pair.net._set_one(here, there, LinkModel(latency=0.002, mtu=narrow))
        connection = await pair.connect()
        await asyncio.sleep(20)
        stream, data = await connection.open_stream(), payload(6_000_000)

        async def write() -> None:
            for at in range(0, len(data), 65536):
                stream.write(data[at : at + 65536])
                await stream.drain()
            stream.write_eof()

        writing = asyncio.create_task(write())
        answer, remotes = bytearray(), set()
        stage = 0
        while piece := await stream.read():
            answer.extend(piece)
            remotes.add(connection.remote)
            if stage == 0 and len(answer) > 1_000_000:
                stage = 1
                for host, other in ((pair.dialer, pair.listener), (pair.listener, pair.dialer)):
                    at = faster if host is pair.dialer else SocketAddress("198.51.1.1", 4000)
                    told = [candidate(CandidateKind.HOST, at)]
                    host.links.punch(other.identity.node_id, told)
            if stage == 1 and len(answer) > 4_000_000:
                stage = 2
                for here, there in ways:
                    pair.net._set_one(here, there, LinkModel(latency=0.002, partitioned=True))
        await writing
        assert bytes(answer) == data
        assert connection.error is None
        if connection.attachment.link.controlling:
            assert remotes == {ADDRESS, faster}

    between(program)
