"""Examining NATs of every kind, against our own reflector, in virtual time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.discovery.examining import examine
from keynet.discovery.nat_behaviour import FIRST_PAUSES, Behaviour, Examination, Filtering
from keynet.discovery.reflector import Reflector
from keynet.discovery.reflexive import Mapping
from keynet.engine import Datagrams
from keynet.stun.binding import Question, read, reflection
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.nat import (
    ADDRESS_RESTRICTED,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Depends,
    Nat,
    NatModel,
)
from keynet.udp.path import Path

SERVER, ALTERNATE = SocketAddress("203.0.113.1", 3478), SocketAddress("203.0.113.129", 3479)
SECOND_SERVER = SocketAddress("192.0.2.77", 3478)
NOBODYS = ("224.0.0.1", "255.255.255.255", "0.0.0.0")
HOME = "192.168.1.2"
BY_ADDRESS = NatModel(mapping=Depends.ADDRESS)


class Server:
    """What a seed is to strangers."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self.reflector = Reflector(endpoint)
        endpoint.set_receiver(self)

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        for datagram in datagrams:
            question = read(datagram)
            if isinstance(question, Question):
                self.reflector.asked(question, path, now)

    def drained(self, now: float) -> None: ...


async def scene(net: FakeNet, *, alternate: bool = True) -> Server:
    server = Server(net.endpoint(SERVER))
    if alternate:

        async def socket(address: SocketAddress) -> FakeEndpoint:
            return net.endpoint(address)

        await server.reflector.open(ALTERNATE, socket)
    return server


def examined(
    model: NatModel | None,
    *,
    alternate: bool = True,
    others: tuple[SocketAddress, ...] = (),
    link: LinkModel | None = None,
    change: Callable[[FakeNet, Server], Awaitable[None]] | None = None,
) -> Behaviour:
    async def whole() -> Behaviour:
        net = FakeNet(link=link)
        server = await scene(net, alternate=alternate)
        Server(net.endpoint(SECOND_SERVER))
        if change is not None:
            await change(net, server)
        ports = iter(range(5000, 5002))

        async def socket(_: SocketAddress) -> FakeEndpoint:
            here = HOME if model is not None else "198.51.100.9"
            behind = nat if model is not None else None
            return net.endpoint(SocketAddress(here, next(ports)), behind=behind)

        nat = Nat(model or PORT_RESTRICTED, "198.51.100.1")
        return await examine(SERVER, others, socket=socket)

    return run(whole())


@pytest.mark.parametrize(
    ("model", "mapping", "filtering"),
    [
        (FULL_CONE, Mapping.INDEPENDENT, Filtering.INDEPENDENT),
        (ADDRESS_RESTRICTED, Mapping.INDEPENDENT, Filtering.ADDRESS),
        (PORT_RESTRICTED, Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT),
        (SYMMETRIC, Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT),
        (BY_ADDRESS, Mapping.ADDRESS, Filtering.ADDRESS_AND_PORT),
    ],
)
def test_each_kind_of_nat_is_told_from_the_others(model, mapping, filtering):
    found = examined(model)
    assert (found.mapping, found.filtering) == (mapping, filtering)
    assert found.mapped is not None
    assert found.mapped.host == "198.51.100.1"
    assert found.other == ALTERNATE
    assert found.rtt == pytest.approx(0.02)
    assert found.hairpinning is False


def test_no_nat():
    found = examined(None)
    assert (found.mapping, found.filtering) == (Mapping.NONE, Filtering.INDEPENDENT)
    assert found.hairpinning is None


@pytest.mark.parametrize("filtering", list(Depends))
def test_a_hairpin_is_seen_through_every_filter(filtering):
    assert examined(NatModel(filtering=filtering, hairpin=True)).hairpinning is True


@pytest.mark.parametrize(
    ("model", "mapping"),
    [(PORT_RESTRICTED, Mapping.INDEPENDENT), (SYMMETRIC, Mapping.DEPENDENT)],
)
def test_two_servers_without_other_addresses_show_the_mapping_and_no_more(model, mapping):
    found = examined(model, alternate=False, others=(SERVER, SECOND_SERVER))
    assert (found.mapping, found.filtering, found.other) == (mapping, Filtering.UNKNOWN, None)


def test_one_server_without_another_address_shows_neither():
    found = examined(SYMMETRIC, alternate=False)
    assert (found.mapping, found.filtering) == (Mapping.UNKNOWN, Filtering.UNKNOWN)
    assert found.mapped is not None


def test_udp_that_does_not_pass():
    found = examined(PORT_RESTRICTED, link=LinkModel(partitioned=True))
    assert found == Behaviour(SERVER)


def test_the_tests_survive_loss():
    found = examined(ADDRESS_RESTRICTED, link=LinkModel(loss=0.1))
    assert (found.mapping, found.filtering) == (Mapping.INDEPENDENT, Filtering.ADDRESS)


@pytest.mark.parametrize(("passes", "found"), [(1472, 1472), (1400, 1372), (576, 548)])
def test_the_largest_question_that_passes_whole(passes, found):
    assert examined(PORT_RESTRICTED, link=LinkModel(mtu=passes)).mtu == found


def test_an_alternate_that_does_not_answer_leaves_the_mapping_unknown():
    async def shut(net: FakeNet, server: Server) -> None:
        for corner in list(server.reflector._sockets.values()):
            net._forget(corner)

    found = examined(SYMMETRIC, change=shut)
    assert found.mapping is Mapping.UNKNOWN


def test_a_server_that_ignores_the_wish_for_another_address_shows_no_filtering():
    now = 0.0
    examination = Examination(SERVER, (), os.urandom, now)
    for _ in range(2):
        (asked,) = examination.datagrams_to_send(now)
        question = read(asked.data)
        assert isinstance(question, Question)
        answer = reflection(question, SocketAddress("198.51.100.1", 9), other=ALTERNATE)
        examination.receive(answer, SERVER, now)
    assert question.change_address
    assert examination.found.filtering is Filtering.UNKNOWN


def test_what_cannot_be_sent_is_not_waited_for():
    examination = Examination(SERVER, (), os.urandom, 5.0)
    examination.datagrams_to_send(5.0)
    examination.failed(5.0)
    assert examination.finished
    assert examination.next_deadline() is None
    assert examination.datagrams_to_send(6.0) == []


def test_it_ends_by_its_deadlines_alone():
    now, sent = 0.0, 0
    examination = Examination(SERVER, (), os.urandom, now)
    while (deadline := examination.next_deadline()) is not None:
        now = max(now, deadline)
        sent += len(examination.datagrams_to_send(now))
        examination.handle_deadline(now)
    assert examination.finished
    assert (sent, now) == (len(FIRST_PAUSES), sum(FIRST_PAUSES))


ADDRESSES = st.builds(
    SocketAddress,
    st.ip_addresses(v=4).map(str) | st.sampled_from(NOBODYS),
    st.integers(0, 65535),
)


@given(
    answers=st.lists(
        st.tuples(ADDRESSES, ADDRESSES | st.none(), ADDRESSES) | st.none(), max_size=30
    )
)
def test_a_server_that_lies_draws_a_few_questions_and_none_to_many_receivers(answers):
    now, sent = 0.0, []
    examination = Examination(SERVER, (), os.urandom, now)
    queue = iter(answers)
    while (deadline := examination.next_deadline()) is not None:
        now = max(now, deadline)
        for outgoing in examination.datagrams_to_send(now):
            sent.append(outgoing.remote)
            lie = next(queue, None)
            if lie is not None:
                mapped, other, source = lie
                asked = read(outgoing.data)
                assert isinstance(asked, Question)
                examination.receive(reflection(asked, mapped, other=other), source, now)
        examination.handle_deadline(now)
    assert examination.finished
    assert len([one for one in sent if one != SERVER]) <= 12
    assert len(sent) <= 60
    assert not any(one.port == 0 or one.host in NOBODYS for one in sent)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_change_nothing(data):
    examination = Examination(SERVER, (), os.urandom, 0.0)
    examination.datagrams_to_send(0.0)
    examination.receive(data, SERVER, 0.1)
    assert not examination.finished
    assert examination.found == Behaviour(SERVER)
