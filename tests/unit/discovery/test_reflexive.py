"""Asking for one's own address: lost, forged and late answers, and what the NAT is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.discovery.reflexive import MAX_SERVERS, PAUSES, Mapping, Reflexive
from keynet.stun.binding import Question, Reflection, read

ONE, TWO = SocketAddress("203.0.113.1", 3478), SocketAddress("203.0.113.2", 3478)
SEEN, OTHER = SocketAddress("198.51.100.1", 4000), SocketAddress("198.51.100.1", 4001)


def a_reflexive() -> Reflexive:
    numbers = itertools.count(1)
    return Reflexive(lambda size: next(numbers).to_bytes(size))


def answer(asked: bytes, mapped: SocketAddress) -> Reflection:
    found = read(asked)
    assert isinstance(found, Question)
    return Reflection(found.transaction_id, mapped)


def asked_both(first: SocketAddress, second: SocketAddress) -> Reflexive:
    reflexive = a_reflexive()
    reflexive.ask([ONE, TWO], 0.0)
    for (server, datagram), mapped in zip(reflexive.questions(0.0), (first, second), strict=True):
        assert reflexive.received(answer(datagram, mapped), server, 0.1)
    return reflexive


@pytest.mark.parametrize(
    ("first", "second", "own", "mapping"),
    [
        (SEEN, SEEN, [], Mapping.INDEPENDENT),
        (SEEN, OTHER, [], Mapping.DEPENDENT),
        (SEEN, SEEN, [SEEN], Mapping.NONE),
    ],
)
def test_two_servers_show_the_mapping(first, second, own, mapping):
    reflexive = asked_both(first, second)
    assert reflexive.seen == {ONE: first, TWO: second}
    assert reflexive.mapping(own) is mapping
    assert reflexive.mapping(own, ipv6=True) is Mapping.UNKNOWN
    assert not reflexive.asking


def test_one_server_shows_an_address_but_no_mapping():
    reflexive = a_reflexive()
    reflexive.ask([ONE], 0.0)
    [(_, datagram)] = reflexive.questions(0.0)
    reflexive.received(answer(datagram, SEEN), ONE, 0.1)
    assert reflexive.mapping([]) is Mapping.UNKNOWN


def test_a_silent_server_is_asked_again_and_given_up():
    reflexive = a_reflexive()
    reflexive.ask([ONE], 0.0)
    times = []
    while (at := reflexive.next_deadline()) is not None:
        times += [at] * len(reflexive.questions(at))
    assert times == [sum(PAUSES[:n]) for n in range(len(PAUSES))]
    assert not reflexive.asking


def test_an_answer_to_any_of_the_questions_counts_once():
    reflexive = a_reflexive()
    reflexive.ask([ONE], 0.0)
    [(_, first)] = reflexive.questions(0.0)
    reflexive.questions(PAUSES[0])
    assert reflexive.received(answer(first, SEEN), ONE, 1.0)
    assert not reflexive.received(answer(first, OTHER), ONE, 1.0)
    assert reflexive.seen == {ONE: SEEN}


def test_forged_answers_are_nothing():
    reflexive = a_reflexive()
    reflexive.ask([ONE], 0.0)
    [(_, datagram)] = reflexive.questions(0.0)
    assert not reflexive.received(answer(datagram, OTHER), TWO, 0.1)
    assert not reflexive.received(Reflection(bytes(12), OTHER), ONE, 0.1)
    assert reflexive.seen == {}


def test_only_so_many_servers_are_asked():
    reflexive = a_reflexive()
    reflexive.ask([SocketAddress("203.0.113.1", port) for port in range(1, 100)], 0.0)
    assert len(reflexive.questions(0.0)) == MAX_SERVERS


@given(st.binary(min_size=12, max_size=12), st.ip_addresses())
def test_no_answer_raises(transaction_id, ip):
    reflexive = a_reflexive()
    reflexive.ask([ONE], 0.0)
    reflexive.questions(0.0)
    reflexive.received(Reflection(transaction_id, SocketAddress(str(ip), 1)), ONE, 0.0)
