"""The two engines joined: allocations, permissions, channels, time and limits."""

from __future__ import annotations

import pytest

from keynet.address import SocketAddress
from keynet.relay import channel_data, codec
from keynet.relay.channel_data import FIRST_CHANNEL
from keynet.relay.credentials import Credentials
from keynet.relay.events import (
    Allocated,
    AllocationLost,
    DataReceived,
    Loss,
    PeerPermitted,
    PeerRefused,
)
from keynet.relay.limits import RelayLimits
from keynet.relay.reach import Reach
from keynet.relay.server import NONCE_LIFETIME
from tests.unit.relay.pair import CLIENT, PEER, PEER6, PORTS, RELAY, Pair, batch, credentials


def allocated(**options) -> Pair:
    pair = Pair(**options)
    pair.allocate()
    assert len(pair.take(Allocated)) == 1, pair.events
    return pair


def permitted(**options) -> Pair:
    pair = allocated(**options)
    assert pair.permit()
    assert pair.take(PeerPermitted) == [PeerPermitted(PEER)]
    return pair


def bound(**options) -> Pair:
    pair = permitted(**options)
    assert pair.send(b"the first asks for a channel")
    pair.at_peer.clear()
    pair.to_client.clear()
    pair.to_server.clear()
    return pair


def lost(pair: Pair) -> AllocationLost:
    (event,) = pair.take(AllocationLost)
    assert pair.client.next_deadline() is None
    assert pair.client.datagrams_to_send(pair.now) == []
    return event


class TestAllocating:
    def test_takes_a_challenge_and_then_an_address(self) -> None:
        pair = Pair()
        pair.allocate()
        assert pair.events == [Allocated(SocketAddress(RELAY, PORTS + 1), CLIENT.remote, 600.0)]
        question, answer = pair.to_server[0], bytes(pair.to_client[0].data)
        assert (len(question), len(answer)) == (28, 80)

    def test_of_ipv6(self) -> None:
        pair = allocated(ipv6=True)
        assert pair.permit(PEER6)
        assert pair.take(PeerPermitted)
        assert pair.send(b"x", to=PEER6)
        assert pair.at_peer == [(PEER6, b"x")]
        pair.permit()
        (refused,) = pair.take(PeerRefused)
        assert refused.code == 443

    def test_with_a_wrong_password(self) -> None:
        pair = Pair(shown=Credentials(credentials().username, "wrong"))
        pair.allocate()
        assert lost(pair).reason is Loss.CREDENTIALS
        assert not pair.opened

    def test_with_expired_credentials(self) -> None:
        pair = Pair(shown=credentials(lasting=-1))
        pair.allocate()
        assert lost(pair).reason is Loss.CREDENTIALS

    def test_without_a_port(self) -> None:
        pair = Pair()
        pair.ports_fail = True
        pair.allocate()
        assert lost(pair).reason is Loss.CAPACITY
        assert len(pair.server._allocations) == 0

    def test_at_a_silent_server_gives_up(self) -> None:
        pair = Pair(loss=1.0)
        pair.client.allocate(pair.now)
        pair.run(39.0)
        assert not pair.events
        assert len(pair.to_server) == 7
        pair.run(1.0)
        assert lost(pair).reason is Loss.SILENCE

    def test_twice_by_the_same_request_gives_the_same_address(self) -> None:
        pair = allocated()
        pair.server.receive(batch(pair.to_server[1]), CLIENT, pair.now)
        pair.run(1.0)
        assert len(pair.opened) == 1
        first, second = (codec.parse(one.data) for one in pair.to_client[-2:])
        assert first.transaction_id == second.transaction_id
        assert first.address("XOR-RELAYED-ADDRESS") == second.address("XOR-RELAYED-ADDRESS")

    def test_replaces_what_an_earlier_client_left(self) -> None:
        pair = allocated()
        pair.client = pair.new_client()
        pair.allocate()
        assert pair.take(Allocated)
        assert pair.released == ["its client closed it"]


class TestTime:
    def test_allocation_permission_and_channel_are_kept_for_an_hour(self) -> None:
        pair = bound()
        pair.run(3600.0)
        assert pair.send(b"still there")
        pair.from_peer(b"and back")
        assert pair.at_peer == [(PEER, b"still there")]
        (data,) = pair.take(DataReceived)
        assert bytes(data.datagrams.data) == b"and back"
        assert not pair.events
        assert pair.now - 1000.0 > NONCE_LIFETIME  # 438 was among the answers

    def test_a_nat_on_the_way_is_reminded(self) -> None:
        pair = allocated()
        pair.to_server.clear()
        pair.run(60.0)
        assert len(pair.to_server) >= 3

    def test_an_abandoned_allocation_ends(self) -> None:
        pair = permitted()
        pair.client = pair.new_client()
        pair.run(599.0 - 2.0)
        assert pair.opened
        pair.run(5.0)
        assert pair.released == ["it expired"]
        assert pair.server.next_deadline() is None

    def test_an_abandoned_permission_ends(self) -> None:
        pair = permitted()
        pair.client.forget(PEER, pair.now)
        pair.from_peer(b"let in")
        assert pair.server.counters["datagrams relayed"] == 1
        pair.run(300.0)
        pair.from_peer(b"shut out")
        assert pair.server.counters["datagrams relayed"] == 1

    def test_a_silent_server_is_noticed(self) -> None:
        pair = bound()
        pair.server_answers = False
        pair.run(600.0)
        assert lost(pair).reason is Loss.SILENCE

    def test_a_restarted_server_is_noticed(self) -> None:
        pair = bound()
        pair.run(50.0)
        pair.server = pair.new_server()
        pair.run(600.0)
        assert lost(pair).reason is Loss.MISMATCH

    def test_credentials_may_expire_during_an_allocation(self) -> None:
        pair = allocated(shown=credentials(lasting=60))
        pair.run(3000.0)
        assert not pair.events

    def test_closing_is_confirmed_and_final(self) -> None:
        pair = bound()
        pair.client.close(pair.now)
        pair.client.close(pair.now)
        assert not pair.client.send(batch(b"too late"), PEER, pair.now)
        pair.run(1.0)
        assert lost(pair) == AllocationLost(Loss.CLOSED, "closed")
        assert pair.released == ["its client closed it"]
        pair.client.close(pair.now)
        assert pair.client.next_event() is None

    def test_closing_before_anything(self) -> None:
        pair = Pair()
        pair.client.close(pair.now)
        pair.run(0.0)
        assert lost(pair).reason is Loss.CLOSED

    def test_closing_while_the_server_is_silent(self) -> None:
        pair = allocated()
        pair.server_answers = False
        pair.client.close(pair.now)
        pair.run(10.0)
        assert lost(pair).reason is Loss.CLOSED


class TestData:
    def test_goes_in_indications_first(self) -> None:
        pair = permitted()
        sent = (b"a" * 10, b"b" * 10, b"short")
        assert pair.send(*sent)
        assert pair.at_peer == [(PEER, one) for one in sent]

    def test_comes_in_indications_without_a_channel(self) -> None:
        pair = permitted()
        pair.from_peer(b"one", b"two", b"3")
        received = [bytes(one) for event in pair.take(DataReceived) for one in event.datagrams]
        assert received == [b"one", b"two", b"3"]

    def test_stays_one_batch_on_a_channel(self) -> None:
        pair = bound()
        sent = [bytes([n]) * 1200 for n in range(40)] + [b"short"]
        assert pair.send(*sent)
        assert {len(one) for one in pair.to_server} == {1204, 9}
        assert pair.at_peer == [(PEER, one) for one in sent]
        pair.from_peer(*sent)
        (event,) = pair.take(DataReceived)
        assert event.peer == PEER
        assert (len(event.datagrams), event.datagrams.stride) == (41, 1200)
        assert [bytes(one) for one in event.datagrams] == sent
        assert pair.to_client[0].stride == 1204

    def test_to_several_peers(self) -> None:
        pair = bound()
        other = SocketAddress("8.8.4.4", 1)
        assert pair.permit(other)
        assert pair.send(b"x", to=other)
        assert pair.send(b"y", to=other)
        assert pair.send(b"z")
        assert pair.at_peer == [(other, b"x"), (other, b"y"), (PEER, b"z")]

    def test_does_not_go_to_whom_it_may_not(self) -> None:
        pair = allocated()
        assert not pair.send(b"x")
        assert pair.client.counters["to a peer without permission"] == 1

    def test_does_not_come_from_whom_it_may_not(self) -> None:
        pair = permitted()
        pair.from_peer(b"x", peer=SocketAddress("8.8.4.4", 4433))
        assert not pair.take(DataReceived)
        assert pair.server.counters["from a peer without permission"] == 1

    def test_that_nobody_takes_is_bounded(self) -> None:
        pair = bound()
        for _ in range(200):
            pair.client.receive(channel_data.wrap(FIRST_CHANNEL, batch(bytes(60000))), pair.now)
        assert pair.client.counters["more than was taken"] > 0

    def test_that_is_not_sent_is_bounded(self) -> None:
        pair = bound()
        sent = [pair.client.send(batch(bytes(60000)), PEER, pair.now) for _ in range(100)]
        assert sent[0]
        assert not sent[-1]
        pair.client.datagrams_to_send(pair.now)
        assert pair.client.send(batch(b"room again"), PEER, pair.now)

    def test_too_long_for_a_datagram_is_refused(self) -> None:
        pair = bound()
        assert not pair.send(bytes(65507))
        pair.from_peer(bytes(65507))
        assert pair.server.counters["too long to relay"] == 1


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            (RelayLimits(allocations=1), Loss.CAPACITY),
            (RelayLimits(allocations_per_node=1), Loss.QUOTA),
            (RelayLimits(allocations_per_address=1), Loss.QUOTA),
        ],
    )
    def test_of_allocations(self, limits: RelayLimits, reason: Loss) -> None:
        pair = allocated(limits=limits)
        other = Pair()
        other.server = pair.server
        for number in pair.opened:
            other.opened[number] = pair.opened[number]
        other.client_path = CLIENT._replace(local=RELAY)  # the same host by another way
        other.allocate()
        assert lost(other).reason is reason

    def test_of_permissions(self) -> None:
        pair = permitted(limits=RelayLimits(permissions=1))
        pair.permit(SocketAddress("8.8.4.4", 1))
        (refused,) = pair.take(PeerRefused)
        assert refused.code == 508

    def test_of_channels_leaves_indications(self) -> None:
        pair = bound(limits=RelayLimits(channels=1))
        other = SocketAddress("8.8.4.4", 1)
        pair.permit(other)
        for n in range(3):
            assert pair.send(b"%d" % n, to=other)
        assert [data for _, data in pair.at_peer] == [b"0", b"1", b"2"]
        pair.run(1000.0)
        assert pair.send(b"still", to=other)
        assert pair.at_peer[-1] == (other, b"still")

    def test_of_bandwidth(self) -> None:
        pair = bound(limits=RelayLimits(bandwidth=1000.0))
        for _ in range(20):
            pair.client.send(batch(bytes(60000)), PEER, pair.now)
        pair.run(1.0)
        assert 7 <= len(pair.at_peer) <= 9  # a burst of 512 KiB
        assert pair.server.stats()["datagrams above the bandwidth"] >= 11

    def test_of_bytes_ends_the_allocation_and_refuses_another(self) -> None:
        pair = bound(limits=RelayLimits(octets=1000, period=2000.0))
        pair.send(*[bytes(100)] * 5)
        pair.client.send(batch(bytes(400)), PEER, pair.now)
        pair.client.send(batch(bytes(400)), PEER, pair.now)
        pair.run(1.0)
        assert pair.released == ["its bytes were used up"]
        pair.client = pair.new_client()
        pair.allocate()
        assert lost(pair).reason is Loss.QUOTA
        pair.run(2000.0)
        pair.client = pair.new_client()
        pair.allocate()
        assert pair.take(Allocated)

    def test_of_time(self) -> None:
        pair = allocated(limits=RelayLimits(duration=1000.0))
        pair.run(1010.0)
        assert pair.released == ["its time was used up"]
        assert lost(pair)

    def test_are_shown(self) -> None:
        pair = bound()
        shown = pair.server.stats()
        assert shown["allocations now"] == 1
        assert shown["allocations at most"] == 128
        assert shown["bytes relayed"] == len(b"the first asks for a channel")


class TestReach:
    @pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "169.254.1.1", "224.0.0.1"])
    def test_what_is_around_the_relay_is_refused(self, host: str) -> None:
        pair = allocated()
        pair.permit(SocketAddress(host, 80))
        (refused,) = pair.take(PeerRefused)
        assert refused.code == 403

    def test_unless_told_otherwise(self) -> None:
        pair = allocated(reach=Reach(["10.0.0.0/8"]))
        pair.permit(SocketAddress("10.1.2.3", 80))
        assert pair.take(PeerPermitted)

    def test_the_relay_s_own_services_are_refused(self) -> None:
        pair = allocated()
        own = SocketAddress(RELAY, 22)
        pair.permit(own)
        assert pair.send(b"hello", to=own)
        assert not pair.at_peer
        assert pair.server.counters["peers out of reach"] == 1

    def test_another_allocation_is_not(self) -> None:
        pair = allocated()
        own = SocketAddress(RELAY, PORTS + 1)
        pair.permit(own)
        assert pair.send(b"hello", to=own)
        assert pair.at_peer == [(own, b"hello")]


def test_a_closed_server_gives_its_sockets_back_and_is_silent() -> None:
    pair = bound()
    pair.server.close()
    pair.server.close()
    pair.send(b"hello")
    assert pair.released == ["the relay closed"]
    assert not pair.at_peer
    assert not pair.to_client
