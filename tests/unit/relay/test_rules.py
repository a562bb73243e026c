"""Single rules of RFC 8656 and RFC 8489, asked of each engine by hand."""

from __future__ import annotations

from typing import Any

import pytest
from aioice import stun

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.relay import codec
from keynet.relay.codec import Class, Message, Method
from keynet.relay.credentials import Credentials, integrity_key
from keynet.relay.events import Allocated, DataReceived
from keynet.relay.gate import BURST
from keynet.relay.peers import REMEMBERED, Peers
from tests.unit.relay.pair import CLIENT, PEER, Pair, credentials, numbered

UDP = {"REQUESTED-TRANSPORT": codec.UDP_TRANSPORT}
NEXT_ID = numbered(b"by hand")


def answer_to(pair: Pair, request: bytes) -> Message | None:
    pair.server.receive(Datagrams(request), CLIENT, pair.now)
    pair.pump_server()
    answers = pair.to_client
    pair.to_client = []
    return codec.parse(answers[0].data) if answers else None


def ask(
    pair: Pair,
    method: Method,
    attributes: dict[str, Any],
    shown: Credentials | None = None,
    unknown: bytes = b"",
) -> int:
    """The code of the answer to a signed request; 0 for success."""
    shown = shown or credentials()
    challenge = answer_to(pair, codec.encode(Method.ALLOCATE, Class.REQUEST, NEXT_ID(12), UDP))
    assert challenge is not None
    realm, nonce = challenge.attributes["REALM"], challenge.attributes["NONCE"]
    signature = {"USERNAME": shown.username, "REALM": realm, "NONCE": nonce}
    key = integrity_key(shown, realm)
    plain = codec.encode(method, Class.REQUEST, NEXT_ID(12), attributes | signature) + unknown
    mac = stun.message_integrity(plain, key)
    signed = plain[:2] + (len(plain) + 4).to_bytes(2) + plain[4:] + b"\0\x08\0\x14" + mac
    answer = answer_to(pair, signed)
    assert answer is not None
    assert answer.is_authentic(key)
    return answer.error[0]


class TestServer:
    @pytest.mark.parametrize(
        ("attributes", "code"),
        [
            ({}, 400),
            ({"REQUESTED-TRANSPORT": 6 << 24}, 442),
            ({**UDP, "REQUESTED-ADDRESS-FAMILY": 3 << 24}, 440),
            ({**UDP, "EVEN-PORT": b"\x80"}, 508),
            ({**UDP, "EVEN-PORT": b"\x00"}, 0),
            ({**UDP, "RESERVATION-TOKEN": bytes(8)}, 508),
            (UDP, 0),
        ],
    )
    def test_allocate(self, attributes: dict[str, Any], code: int) -> None:
        assert ask(Pair(), Method.ALLOCATE, attributes) == code

    def test_one_allocation_a_client(self) -> None:
        pair = Pair()
        assert [ask(pair, Method.ALLOCATE, UDP) for _ in range(2)] == [0, 437]

    def test_an_allocation_is_its_maker_s(self) -> None:
        pair = Pair()
        assert ask(pair, Method.ALLOCATE, UDP) == 0
        other = credentials("another")
        assert ask(pair, Method.REFRESH, {"LIFETIME": 0}, other) == 441
        assert pair.opened

    def test_a_refresh_names_the_family_or_none(self) -> None:
        pair = Pair()
        assert ask(pair, Method.REFRESH, {}) == 437
        assert ask(pair, Method.ALLOCATE, UDP) == 0
        ipv6 = {"REQUESTED-ADDRESS-FAMILY": codec.FAMILY_IPV6}
        assert ask(pair, Method.REFRESH, ipv6) == 443
        assert ask(pair, Method.REFRESH, {}) == 0

    def test_a_channel_is_one_peer_s_and_a_peer_has_one(self) -> None:
        pair = Pair()
        assert ask(pair, Method.ALLOCATE, UDP) == 0

        def bind(number: int, host: str) -> int:
            attributes = {"CHANNEL-NUMBER": number, "XOR-PEER-ADDRESS": (host, 1)}
            return ask(pair, Method.CHANNEL_BIND, attributes)

        assert bind(0x4000, "8.8.8.8") == 0
        assert bind(0x4000, "8.8.8.8") == 0
        assert bind(0x4000, "8.8.4.4") == 400
        assert bind(0x4001, "8.8.8.8") == 400
        assert bind(0x3FFF, "8.8.4.4") == 400
        assert ask(pair, Method.CHANNEL_BIND, {"CHANNEL-NUMBER": 0x4002}) == 400
        pair.now += 599.0
        assert ask(pair, Method.REFRESH, {}) == 0
        pair.now += 1.0
        assert bind(0x4000, "8.8.4.4") == 0

    def test_attributes_that_must_be_understood_are_refused(self) -> None:
        dont_fragment = b"\0\x1a\0\0"
        assert ask(Pair(), Method.ALLOCATE, UDP, unknown=dont_fragment) == 420
        may_be_ignored = b"\x80\x01\0\0"
        assert ask(Pair(), Method.ALLOCATE, UDP, unknown=may_be_ignored) == 0

    def test_strangers_short_questions_have_no_answer(self) -> None:
        pair = Pair()
        short = codec.encode(Method.ALLOCATE, Class.REQUEST, NEXT_ID(12), {})
        assert answer_to(pair, short) is None
        assert pair.server.stats()["questions too short to answer"] == 1

    def test_strangers_have_so_many_answers(self) -> None:
        pair = Pair()
        question = codec.encode(Method.ALLOCATE, Class.REQUEST, NEXT_ID(12), UDP)
        answers = [answer_to(pair, question) for _ in range(int(BURST) + 5)]
        assert answers.count(None) == 5

    def test_strangers_learn_their_address(self) -> None:
        pair = Pair()
        answer = answer_to(pair, codec.encode(Method.BINDING, Class.REQUEST, NEXT_ID(12), {}))
        assert answer is not None
        assert answer.address("XOR-MAPPED-ADDRESS") == CLIENT.remote


class TestClient:
    def test_unsigned_answers_to_signed_requests_are_not_believed(self) -> None:
        client = Pair().client
        client.allocate(0.0)
        for answer in (_challenge, _forged_success):
            (asked,) = client.datagrams_to_send(0.0)
            request = codec.parse(asked.data)
            assert request is not None
            client.receive(Datagrams(answer(request.transaction_id)), 0.0)
        assert client.counters["not authentic"] == 1
        assert client.next_event() is None

    def test_indications_from_others_are_dropped(self) -> None:
        pair = Pair()
        pair.allocate()
        pair.permit()
        stranger = SocketAddress("6.6.6.6", 6)
        for peer in (stranger, PEER):
            data = codec.indications(Method.DATA, peer, Datagrams(b"x"), numbered(b"x"))
            pair.client.receive(data, pair.now)
        pair.run(0.0)
        assert [one.peer for one in pair.take(DataReceived)] == [PEER]
        assert pair.take(Allocated)


class TestPeers:
    def test_a_number_stays_its_peer_s(self) -> None:
        peers = Peers()
        numbers = []
        for address in (PEER, SocketAddress("8.8.4.4", 1), PEER):
            peer = peers.add(address)
            assert peer is not None
            assert peers.number_for(peer, 0.0)
            numbers.append(peer.channel)
            peers.remove(address, 0.0)
        assert numbers[0] == numbers[2] != numbers[1]

    def test_numbers_come_back_after_a_while(self) -> None:
        peers = Peers()
        for port in range(1, 4097):
            peer = peers.add(SocketAddress("8.8.8.8", port))
            assert peer is not None
            assert peers.number_for(peer, 0.0)
            peers.remove(peer.address, 0.0)
        late = peers.add(SocketAddress("8.8.4.4", 1))
        assert late is not None
        assert not peers.number_for(late, REMEMBERED - 1.0)
        assert peers.number_for(late, REMEMBERED)


def _challenge(transaction_id: bytes) -> bytes:
    attributes = {"ERROR-CODE": (401, "Unauthorized"), "REALM": "there", "NONCE": b"once"}
    return codec.encode(Method.ALLOCATE, Class.ERROR, transaction_id, attributes)


def _forged_success(transaction_id: bytes) -> bytes:
    address = ("6.6.6.6", 6)
    attributes = {"XOR-RELAYED-ADDRESS": address, "XOR-MAPPED-ADDRESS": address, "LIFETIME": 600}
    return codec.encode(Method.ALLOCATE, Class.RESPONSE, transaction_id, attributes)
