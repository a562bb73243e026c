"""Pings and pongs: authentic for who shares the key, nothing for others, and never an error."""

from __future__ import annotations

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.identity import Identity
from keynet.stun import is_stun
from keynet.stun.binding import (
    MAX_GAIN,
    PLAIN_PING,
    Ping,
    Pong,
    Question,
    Reflection,
    ping,
    pong,
    question,
    read,
    reflection,
)

ALICE, BOB = Identity.generate().node_id, Identity.generate().node_id
KEY, OTHER_KEY = bytes(range(32)), bytes(32)
TRANSACTION = b"transaction!"
SEEN = SocketAddress("203.0.113.7", 40000)


def a_ping(**options: object) -> Ping:
    found = read(ping(TRANSACTION, BOB, ALICE, KEY, **options))  # type: ignore[arg-type]
    assert isinstance(found, Ping)
    return found


def test_a_ping_names_both_nodes_and_is_authentic_for_their_key_only():
    found = a_ping()
    assert (found.to, found.sender, found.transaction_id) == (BOB, ALICE, TRANSACTION)
    assert found.is_authentic(KEY)
    assert not found.is_authentic(OTHER_KEY)
    assert not found.nominated


def test_nomination_is_authenticated_with_the_rest():
    assert a_ping(nominate=True).nominated
    assert a_ping(nominate=True).is_authentic(KEY)


@pytest.mark.parametrize("size", [0, 100, PLAIN_PING, 400, 1232, 1472, 8972, 65000])
@pytest.mark.parametrize("nominate", [False, True])
def test_padding_makes_a_ping_as_large_as_the_path_that_it_probes(size, nominate):
    datagram = ping(TRANSACTION, BOB, ALICE, KEY, size=size, nominate=nominate)
    assert is_stun(datagram)
    assert len(datagram) == max(size, PLAIN_PING + 4 * nominate)
    assert a_ping(size=size, nominate=nominate).size == len(datagram)


@pytest.mark.parametrize(
    "seen", [SEEN, SocketAddress("2001:db8::7", 1), SocketAddress("fe80::1%lo", 2)]
)
def test_a_pong_tells_where_the_ping_came_from(seen):
    found = read(pong(a_ping(), seen, KEY))
    assert isinstance(found, Pong)
    assert found.transaction_id == TRANSACTION
    assert found.mapped == SocketAddress(seen.host.partition("%")[0], seen.port)
    assert found.is_authentic(KEY)
    assert not found.is_authentic(OTHER_KEY)


OTHER = SocketAddress("203.0.113.8", 3479)
OTHER_IPV6 = SocketAddress("2001:db8::8", 3479)


@pytest.mark.parametrize(
    ("seen", "other"), [(SEEN, OTHER), (SocketAddress("2001:db8::7", 1), OTHER_IPV6)]
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_strangers_question_is_answered_without_amplification(seen, other, bare):
    asked = question(TRANSACTION)
    if bare:
        asked = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, TRANSACTION))
    found = read(asked)
    assert found == Question(TRANSACTION, len(asked))
    answer = reflection(found, seen, origin=other, other=other)
    assert len(answer) <= MAX_GAIN * len(asked)
    told = read(answer)
    assert isinstance(told, Reflection)
    assert told.mapped == seen
    assert told.other == (None if bare and seen.is_ipv6 else other)


@pytest.mark.parametrize("address", [False, True])
@pytest.mark.parametrize("port", [False, True])
def test_a_question_says_where_its_answer_is_to_come_from(address, port):
    found = read(question(TRANSACTION, change_address=address, change_port=port))
    assert isinstance(found, Question)
    assert (found.change_address, found.change_port) == (address, port)


@pytest.mark.parametrize("size", [0, 28, 32, 576, 1232, 1472, 8972])
@pytest.mark.parametrize("change", [False, True])
def test_a_question_is_padded_to_the_size_that_it_probes(size, change):
    datagram = question(TRANSACTION, change_port=change, size=size)
    assert is_stun(datagram)
    assert len(datagram) == max(size, 28 + 8 * change)
    found = read(datagram)
    assert isinstance(found, Question)
    assert found.size == len(datagram)


def test_a_pong_without_integrity_is_no_pong():
    message = stun.Message(
        stun.Method.BINDING, stun.Class.RESPONSE, TRANSACTION, {"XOR-MAPPED-ADDRESS": tuple(SEEN)}
    )
    assert isinstance(read(bytes(message)), Reflection)


@pytest.mark.parametrize(
    "attributes",
    [
        {"USERNAME": "nobody:else"},
        {"USERNAME": f"{ALICE}"},
        {"USERNAME": ""},
        {},
    ],
)
def test_a_request_with_integrity_that_names_no_nodes_is_nothing(attributes):
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, TRANSACTION, attributes)
    message.add_message_integrity(KEY)
    assert read(bytes(message)) is None


def test_other_methods_and_errors_are_nothing():
    for method, kind in (
        (stun.Method.ALLOCATE, stun.Class.REQUEST),
        (stun.Method.BINDING, stun.Class.ERROR),
    ):
        assert read(bytes(stun.Message(method, kind, TRANSACTION))) is None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise(data):
    read(data)


@given(st.data())
def test_a_changed_ping_is_no_authentic_ping(data):
    datagram = bytearray(ping(TRANSACTION, BOB, ALICE, KEY))
    at = data.draw(st.integers(0, len(datagram) - 1))
    datagram[at] ^= data.draw(st.integers(1, 255))
    found = read(datagram)
    assert not isinstance(found, Ping) or not found.is_authentic(KEY)


@given(st.binary(max_size=200), st.sampled_from([0x0001, 0x0101, 0x0111]))
def test_arbitrary_attributes_never_raise(attributes, message_type):
    body = attributes + bytes(-len(attributes) % 4)
    read(
        message_type.to_bytes(2) + len(body).to_bytes(2) + b"\x21\x12\xa4\x42" + TRANSACTION + body
    )


def test_a_message_with_a_second_fingerprint_is_dropped_before_it_costs_anything():
    """Each would have everything before it summed up: 64 kB of them kept a node for 0.15 s."""
    data = question(bytes(12))[:20]
    for _ in range(2):
        data += b"\x80\x28\x00\x04" + stun.message_fingerprint(data).to_bytes(4)
    data = data[:2] + (len(data) - 20).to_bytes(2) + data[4:]
    assert is_stun(data)
    assert read(data) is None
