"""FakeNet: its endpoints behave as `keynet.udp.api` says endpoints do."""

from __future__ import annotations

import asyncio

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.testing.link import LinkModel
from keynet.udp.api import Endpoint, Sent
from keynet.udp.path import Path


class Recorder:
    """A receiver that keeps what it is told."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self.got: list[bytes] = []
        self.log: list[str] = []
        self.paths: list[Path] = []
        endpoint.set_receiver(self)

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.got += [bytes(datagram) for datagram in datagrams]
        self.paths.append(path)
        self.log.append(f"received {len(datagrams)}")

    def drained(self, now: float) -> None:
        self.log.append("drained")

    def writable(self) -> None:
        self.log.append("writable")

    def endpoint_failed(self, error: OSError) -> None:
        self.log.append("failed")


def to(endpoint: FakeEndpoint) -> Path:
    return Path(endpoint.addresses[0])


def test_a_batch_arrives_after_the_latency_then_drained() -> None:
    async def program() -> None:
        net = FakeNet(link=LinkModel(latency=0.25))
        a, b = net.endpoint(), net.endpoint()
        contract: Endpoint = a
        heard = Recorder(b)
        assert contract.send(Datagrams(b"onetwo", 3), to(b)) is Sent.OK
        await asyncio.sleep(0.24)
        assert heard.got == []
        await asyncio.sleep(0.02)
        assert heard.got == [b"one", b"two"]
        assert heard.log == ["received 2", "drained"]
        assert heard.paths == [Path(a.addresses[0], b.addresses[0].host)]

    run(program())


def test_sizes_are_refused_by_the_interface_and_lost_on_the_path() -> None:
    async def program() -> None:
        net = FakeNet(link=LinkModel(mtu=1200))
        a, b = net.endpoint(mtu_ceiling=1472), net.endpoint()
        heard = Recorder(b)
        assert a.mtu_ceiling(to(b)) == 1472
        assert a.send(Datagrams(bytes(1473)), to(b)) is Sent.TOO_BIG
        assert a.send(Datagrams(bytes(1472)), to(b)) is Sent.OK
        assert a.send(Datagrams(bytes(9000), may_fragment=True), to(b)) is Sent.OK
        await asyncio.sleep(1)
        assert [len(datagram) for datagram in heard.got] == [9000]
        assert net.counts()["too_big"] == 1

    run(program())


def test_a_blocked_endpoint_takes_nothing_until_it_says_so() -> None:
    async def program() -> None:
        net = FakeNet()
        a, b = net.endpoint(), net.endpoint()
        told, heard = Recorder(a), Recorder(b)
        a.block()
        assert a.send(Datagrams(b"x"), to(b)) is Sent.BLOCKED
        a.unblock()
        assert told.log == []
        await asyncio.sleep(1)
        assert told.log == ["writable"]
        assert heard.got == []
        assert a.send(Datagrams(b"x"), to(b)) is Sent.OK

    run(program())


def test_a_partition_and_its_end() -> None:
    async def program() -> None:
        net = FakeNet()
        a, b = net.endpoint(), net.endpoint()
        heard = Recorder(b)
        net.set_link(a, b, LinkModel(partitioned=True))
        a.send(Datagrams(b"lost"), to(b))
        await asyncio.sleep(1)
        net.set_link(a, b, LinkModel())
        a.send(Datagrams(b"heard"), to(b))
        await asyncio.sleep(1)
        assert heard.got == [b"heard"]

    run(program())


def test_a_moved_endpoint_sends_from_its_new_address() -> None:
    async def program() -> None:
        net = FakeNet()
        a, b = net.endpoint(), net.endpoint()
        heard = Recorder(b)
        new = SocketAddress("10.9.9.9", 5)
        net.move(a, new)
        a.send(Datagrams(b"x"), to(b))
        await asyncio.sleep(1)
        assert heard.paths[0].remote == new
        b.send(Datagrams(b"x"), Path(SocketAddress("10.0.0.1", 4000)))
        assert net.unroutable == 1

    run(program())


def test_a_closed_endpoint_is_silent() -> None:
    async def program() -> None:
        net = FakeNet()
        a, b = net.endpoint(), net.endpoint()
        heard = Recorder(b)
        a.send(Datagrams(b"x"), to(b))
        await asyncio.sleep(0.005)
        b.close()
        b.close()
        await asyncio.sleep(1)
        assert heard.log == []
        assert b.send(Datagrams(b"x"), to(a)) is Sent.FAILED

    run(program())


def test_the_receive_buffer_is_bounded() -> None:
    async def program() -> None:
        net = FakeNet()
        a, b = net.endpoint(), net.endpoint(receive_buffer=10_000)
        heard = Recorder(b)
        for _ in range(2):
            b.inject([bytes(1000)] * 8, a.addresses[0])
        await asyncio.sleep(0)
        assert len(heard.got) == 8
        assert b.stats()["receive_buffer_full"] == 8

    run(program())


def test_the_same_seed_gives_the_same_network() -> None:
    async def program(seed: int) -> tuple[list[bytes], dict[str, int]]:
        bad = LinkModel(loss=0.2, duplication=0.2, reordering=0.3, corruption=0.1, jitter=0.01)
        net = FakeNet(seed, bad)
        a, b = net.endpoint(), net.endpoint()
        heard = Recorder(b)
        for n in range(200):
            a.send(Datagrams(n.to_bytes(2, "big")), to(b))
        await asyncio.sleep(1)
        return heard.got, dict(net.counts())

    assert run(program(1)) == run(program(1))
    assert run(program(1)) != run(program(2))


def test_two_endpoints_cannot_share_an_address() -> None:
    async def program() -> None:
        net = FakeNet()
        taken = net.endpoint().addresses[0]
        with pytest.raises(OSError, match="in use"):
            net.endpoint(taken)

    run(program())
