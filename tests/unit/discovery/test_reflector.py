"""Answering strangers: from where, how often, how much; and which alternates make sense."""

from __future__ import annotations

import asyncio

import pytest

from keynet.address import SocketAddress
from keynet.discovery.reflector import BURST, Reflector, corners_of, own_address
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.stun.binding import MAX_GAIN, Question, Reflection, question, read
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.udp.path import Path

OWN, ALTERNATE = SocketAddress("127.0.0.1", 40001), SocketAddress("127.0.0.2", 40002)
ASKER = SocketAddress("127.0.0.9", 5)


class Asker:
    """Keeps what it hears."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self.endpoint = endpoint
        self.heard: list[tuple[SocketAddress, bytes]] = []
        endpoint.set_receiver(self)

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.heard += [(path.remote, bytes(one)) for one in datagrams]

    def drained(self, now: float) -> None: ...


def asked(**flags: bool) -> Question:
    found = read(question(b"transaction!", **flags))  # type: ignore[arg-type]
    assert isinstance(found, Question)
    return found


def with_reflector(program, alternate: SocketAddress | None = ALTERNATE) -> None:
    async def whole() -> None:
        net = FakeNet()
        own = net.endpoint(OWN)
        reflector = Reflector(own)

        async def socket(address: SocketAddress) -> FakeEndpoint:
            return net.endpoint(address)

        if alternate is not None:
            await reflector.open(alternate, socket)
        await program(net, reflector, Asker(net.endpoint(ASKER)))
        reflector.close()
        reflector.close()

    run(whole())


async def pause() -> None:
    await asyncio.sleep(1)  # virtual: whatever is under way arrives


@pytest.mark.parametrize("address", [False, True])
@pytest.mark.parametrize("port", [False, True])
def test_the_answer_comes_from_where_it_was_wanted(address, port):
    async def program(net, reflector, asker):
        reflector.asked(asked(change_address=address, change_port=port), Path(ASKER), 1.0)
        await pause()
        ((source, data),) = asker.heard
        hosts, ports = (OWN.host, ALTERNATE.host), (OWN.port, ALTERNATE.port)
        assert source == SocketAddress(hosts[address], ports[port])
        answer = read(data)
        assert isinstance(answer, Reflection)
        assert (answer.mapped, answer.other) == (ASKER, ALTERNATE)
        assert len(data) <= MAX_GAIN * 28

    with_reflector(program)


def test_a_further_socket_tells_its_own_opposite():
    async def program(net, reflector, asker):
        there = SocketAddress(ALTERNATE.host, OWN.port)
        asker.endpoint.send(Datagrams(question(b"transaction!")), Path(there))
        asker.endpoint.send(Datagrams(b"no question at all"), Path(there))
        await pause()
        ((source, data),) = asker.heard
        assert source == there
        answer = read(data)
        assert isinstance(answer, Reflection)
        assert answer.other == SocketAddress(OWN.host, ALTERNATE.port)
        assert reflector.counters == {"answered": 1, "no questions": 1}

    with_reflector(program)


def test_without_an_alternate_only_plain_questions_are_answered():
    async def program(net, reflector, asker):
        reflector.asked(asked(change_port=True), Path(ASKER), 1.0)
        reflector.asked(asked(), Path(ASKER), 1.0)
        await pause()
        ((source, data),) = asker.heard
        answer = read(data)
        assert isinstance(answer, Reflection)
        assert (source, answer.other) == (OWN, None)
        assert reflector.counters == {"questions for another address": 1, "answered": 1}

    with_reflector(program, alternate=None)


def test_one_address_is_answered_so_often_and_others_still_are():
    async def program(net, reflector, asker):
        for _ in range(int(BURST) + 10):
            reflector.asked(asked(), Path(ASKER), 1.0)
        assert reflector.counters["questions above the rate"] == 10
        reflector.asked(asked(), Path(SocketAddress("127.0.0.10", 5)), 1.0)
        assert reflector.counters["questions above the rate"] == 10

    with_reflector(program)


@pytest.mark.parametrize(
    ("own", "alternate", "said"),
    [
        (OWN, "127.0.0.1:9", "another IP address and another port"),
        (OWN, f"127.0.0.2:{OWN.port}", "another IP address and another port"),
        (OWN, "127.0.0.2:0", "another IP address and another port"),
        (OWN, "[::1]:9", "of its family"),
        (OWN, "0.0.0.0:9", "not 0.0.0.0"),
        (SocketAddress("0.0.0.0", 1), "127.0.0.2:9", "not 0.0.0.0"),
    ],
)
def test_addresses_that_show_nothing_are_refused(own, alternate, said):
    other = SocketAddress.parse(alternate)
    with pytest.raises(ConfigError, match=said):
        corners_of(own_address((own,), other), other)


def test_an_alternate_that_is_taken_is_refused_and_leaves_nothing_open():
    async def program(net, reflector, asker):
        taken = net.endpoint(ALTERNATE)

        async def socket(address: SocketAddress) -> FakeEndpoint:
            return net.endpoint(address)

        with pytest.raises(ConfigError, match="--alternate"):
            await reflector.open(ALTERNATE, socket)
        taken.close()
        await reflector.open(ALTERNATE, socket)

    with_reflector(program, alternate=None)
