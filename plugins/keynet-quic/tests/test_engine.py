"""What the conformance suite cannot ask of every transport: keys, sizes, proofs, odd peers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from keynet_quic import QuicTransport, connection, transport
from keynet_quic.batches import joined
from keynet_quic.connection import LARGEST_PACKET, PEER, STREAM_WINDOW
from keynet_quic.engine import CLOSE_TIMEOUT

from keynet.engine import Datagrams
from keynet.errors import (
    ClosedByPeer,
    EmptyChain,
    HandshakeFailed,
    IdentityError,
    KeynetError,
    LocallyClosed,
    RemoteProtocolError,
)
from keynet.identity import MAX_CHAIN, Identity
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, EnginePair, StaticLink
from keynet.testing.transport.scene import App, Scene, identity, payload
from keynet.testing.transport.streams import exchange, finished, same


def long_chain() -> Identity:
    node = Identity.generate()
    for _ in range(MAX_CHAIN - 1):
        node = node.rotate()
    return node


def reason(app: App) -> KeynetError | None:
    """Why an end's connection ended."""
    assert app.terminated is not None
    return app.terminated.error


def test_the_longest_chain_passes_the_handshake_on_a_small_path() -> None:
    node = long_chain()
    scene = Scene(transport, link=LinkModel(mtu=1232), listening=node).connect()
    assert scene.dialer.peer is not None
    assert len(scene.dialer.peer.chain) == MAX_CHAIN


def test_keys_change_during_a_transfer() -> None:
    def often() -> QuicTransport:
        return replace(transport(), key_packets=200)

    scene = Scene(often, link=LinkModel(loss=0.02)).connect()
    exchange(scene, 1 << 20, limit=600)
    for app in (scene.dialer, scene.listener):
        assert int(app.engine.stats()["key updates"]) >= 3


def test_packets_are_as_large_as_the_link_has_measured() -> None:
    scene = Scene(transport, link=LinkModel(mtu=65_000), mtu=1200).connect()
    sizes: list[int] = []
    scene.pair.a.tap = lambda batch: sizes.append(max(map(len, batch)))
    exchange(scene, 100_000)
    assert max(sizes) == 1200
    for side in (scene.pair.a, scene.pair.b):
        side.engine._link.mtu = 8952  # measured with padded pings, on the same path
    exchange(scene, 100_000)
    assert max(sizes) == 8952
    scene.change_path(LinkModel(mtu=65_000), mtu=65_000)
    exchange(scene, 500_000)
    assert max(sizes) == LARGEST_PACKET


def test_a_change_of_path_sends_what_is_in_flight_again_at_once() -> None:
    scene = Scene(transport, link=LinkModel(mtu=9000, latency=0.1), mtu=8952).connect()
    here, there = scene.open()
    data = payload(60_000)
    scene.dialer.send(here, data, eof=True)
    scene.pair.settle()
    engine = scene.pair.a.engine
    assert engine._connection._loss.bytes_in_flight > 30_000
    scene.change_path(LinkModel(mtu=1200, latency=0.001), mtu=1200)
    assert engine._connection._loss.bytes_in_flight == 0
    assert not any(space.sent_packets for space in engine._connection._spaces.values())
    assert engine.stats()["rtt"] == "unknown"
    scene.run(lambda: scene.listener.streams[there].ended, limit=1.0)
    same(scene.listener.streams[there].received, data, "over two paths")


def test_what_leaves_together_leaves_as_one_batch() -> None:
    scene = Scene(transport, link=LinkModel(latency=0.02)).connect()
    batches: list[int] = []
    scene.pair.a.tap = lambda batch: batches.append(len(batch))
    exchange(scene, 1 << 20)
    assert max(batches) >= 8


def test_batches_hold_equal_datagrams_and_perhaps_a_shorter_last_one() -> None:
    sizes = [1200, 1200, 700, 1200, 1300, 1300]
    batches = joined([bytes([i]) * size for i, size in enumerate(sizes)], 1250)
    assert [[len(one) for one in batch] for batch in batches] == [
        [1200, 1200, 700],
        [1200],
        [1300, 1300],
    ]
    assert [batch.may_fragment for batch in batches] == [False, False, True]
    assert b"".join(bytes(batch.data) for batch in batches) == b"".join(
        bytes([i]) * size for i, size in enumerate(sizes)
    )
    assert [len(batch) for batch in joined([bytes(1200)] * 130, 1200)] == [54, 54, 22]


def test_stopped_readers_hold_their_writers_and_leave_room_for_the_rest() -> None:
    scene = Scene(transport).connect()
    scene.listener.reading = False
    for _ in range(3):
        scene.dialer.send(scene.dialer.open(), payload(2 << 20))
    scene.run(10.0)
    held = [len(stream.received) for stream in scene.pair.b.engine._streams]
    assert held == [STREAM_WINDOW] * 3
    scene.listener.reading = True
    scene.dialer.send(scene.dialer.open(), b"not held", eof=True)
    logs = scene.listener.streams
    scene.run(lambda: any(log.received == b"not held" for log in logs.values()))
    scene.listener.read()
    scene.run(lambda: sum(len(log.received) for log in logs.values()) > 6 << 20)


def test_all_unread_bytes_of_a_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    window = 2 << 20
    monkeypatch.setattr(connection, "CONNECTION_WINDOW", window)
    monkeypatch.setattr(connection._Credit, "offered", window)
    scene = Scene(transport).connect()
    scene.listener.reading = False
    for _ in range(4):
        scene.dialer.send(scene.dialer.open(), payload(1 << 20), eof=True)
    scene.run(10.0)
    assert scene.pair.b.engine._streams.unread == window
    scene.listener.reading = True
    scene.listener.read()
    scene.run(lambda: all(log.ended for log in scene.listener.streams.values()))
    assert sum(len(log.received) for log in scene.listener.streams.values()) == 4 << 20


def test_a_close_waits_for_what_was_ended_cleanly() -> None:
    scene = Scene(transport, link=LinkModel(latency=0.05)).connect()
    here, there = scene.open()
    data = payload(20_000)
    scene.listener.send(there, b"", eof=True)
    scene.dialer.send(here, data, eof=True)
    scene.dialer.close()
    before = scene.pair.now
    scene.run(lambda: scene.dialer.terminated and scene.listener.terminated)
    same(scene.listener.streams[there].received, data, "before the close")
    assert scene.listener.streams[there].error is None
    assert scene.pair.now - before < CLOSE_TIMEOUT
    assert isinstance(scene.dialer.streams[here].error, LocallyClosed)


def test_what_the_peer_had_sent_whole_can_be_read_after_it_has_closed() -> None:
    scene = Scene(transport).connect()
    here, there = scene.open()
    scene.listener.reading = False
    data = payload(50_000)
    scene.listener.send(there, b"", eof=True)
    scene.dialer.send(here, data, eof=True)
    scene.run(lambda: scene.dialer.streams[here].closed)
    scene.dialer.close()
    scene.run(5.0)
    assert scene.listener.terminated is None
    scene.listener.reading = True
    scene.listener.read()
    scene.run(lambda: scene.listener.terminated)
    same(scene.listener.streams[there].received, data, "after the peer was gone")
    assert scene.listener.streams[there].error is None
    assert isinstance(reason(scene.listener), ClosedByPeer)


# Newer identities


@pytest.mark.parametrize("seed", range(25))
def test_the_peer_knows_a_newer_identity_before_anything_of_the_next_stream(seed: int) -> None:
    link = LinkModel(latency=0.03, loss=0.2, reordering=0.3, reordering_delay=0.2)
    scene = Scene(transport, link=link, seed=seed).connect()
    known: list[object] = []
    scene.listener.on_stream = lambda _: known.append(
        scene.listener.peer and scene.listener.peer.node_id
    )
    scene.dialer.engine.identity_changed(identity("dialer'"), scene.pair.now)
    scene.dialer.send(scene.dialer.open(), b"from whom?", eof=True)
    scene.run(lambda: known, limit=30)
    assert known == [identity("dialer'").node_id]


def test_two_changes_one_after_the_other_leave_the_newest() -> None:
    older, newer = identity("dialer'"), identity("dialer'").rotate()
    scene = Scene(transport, link=LinkModel(latency=0.03, reordering=0.5), seed=3).connect()
    scene.dialer.engine.identity_changed(older, scene.pair.now)
    scene.dialer.engine.identity_changed(newer, scene.pair.now)
    scene.open()
    assert scene.listener.peer is not None
    assert scene.listener.peer.node_id == newer.node_id


def test_a_change_before_the_handshake_is_told_after_it() -> None:
    scene = Scene(transport)
    scene.dialer.engine.identity_changed(identity("dialer'"), scene.pair.now)
    scene.connect().open()
    assert scene.listener.peer is not None
    assert scene.listener.peer.node_id == identity("dialer'").node_id


def test_an_identity_of_another_lineage_ends_the_connection() -> None:
    scene = Scene(transport).connect()
    scene.dialer.engine.identity_changed(identity("somebody else"), scene.pair.now)
    scene.run(lambda: scene.listener.terminated and scene.dialer.terminated)
    assert isinstance(reason(scene.listener), IdentityError)
    assert isinstance(reason(scene.dialer), ClosedByPeer)
    assert "refused" in str(reason(scene.dialer))


def test_a_proof_of_another_connection_is_worth_nothing() -> None:
    scene = Scene(transport).connect()
    scene.pair.a.engine._connection.binding = bytes(32)
    scene.dialer.engine.identity_changed(identity("dialer'"), scene.pair.now)
    scene.run(lambda: scene.listener.terminated)
    assert isinstance(reason(scene.listener), IdentityError)
    assert "does not hold the key" in str(reason(scene.listener))


@pytest.mark.parametrize("junk", [b"", b"x", bytes(64), bytes(66), payload(5000), payload(32768)])
def test_junk_instead_of_a_proof_ends_the_connection(junk: bytes) -> None:
    scene = Scene(transport).connect()
    ours = scene.pair.a.engine._connection
    stream = ours.open(unidirectional=True)
    ours.send_stream_data(stream.stream_id, junk, end_stream=True)
    scene.run(lambda: scene.listener.terminated, limit=10)
    assert isinstance(reason(scene.listener), IdentityError | RemoteProtocolError)


def test_unidirectional_streams_are_few_and_short() -> None:
    scene = Scene(transport).connect()
    ours = scene.pair.a.engine._connection
    for _ in range(6):
        stream = ours.open(unidirectional=True)
        ours.send_stream_data(stream.stream_id, bytes(40_000))
    scene.run(5.0)
    arrived = scene.pair.b.engine._identities._arriving.values()
    assert len(arrived) == 4
    assert max(map(len, arrived)) <= 32768


# Odd peers


class Plain:
    """aioquic itself as a peer, with our certificate or none."""

    def __init__(self, local: Identity | None, alpn: str = "keynet/1") -> None:
        settings = QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=0)
        if local is not None:
            settings.certificate, *settings.certificate_chain = local.chain
            settings.private_key = local.private_key
        self.connection = QuicConnection(configuration=settings)
        self.connection.connect(PEER, START)
        self.next_event = self.connection.next_event

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            self.connection.receive_datagram(bytes(datagram), PEER, now)

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        return [Datagrams(data) for data, _ in self.connection.datagrams_to_send(now)]

    def next_deadline(self) -> float | None:
        return self.connection.get_timer()

    def handle_deadline(self, now: float) -> None:
        self.connection.handle_timer(now)


def listener_for(peer: Plain) -> tuple[EnginePair, App]:
    made = transport()
    pair = EnginePair(
        peer, lambda first, now: made.accept(StaticLink(), first, identity("listener"), now)
    )
    return pair, App("listener", pair.b, lambda: pair.now)


def test_a_plain_client_with_our_certificate_is_served() -> None:
    peer = Plain(identity("dialer"))
    pair, app = listener_for(peer)
    app.on_stream = lambda opened: app.send(opened, b"answer", eof=True)
    events: list[Any] = []
    pair.a.on_event = events.append
    pair.run(lambda: app.peer)
    assert app.peer is not None
    assert app.peer.node_id == identity("dialer").node_id
    data = payload(3 << 20)
    peer.connection.send_stream_data(0, data, end_stream=True)
    pair.run(lambda: app.streams and app.streams[0].closed)
    same(app.streams[0].received, data, "from a plain client")
    answered = [(e.data, e.end_stream) for e in events if type(e).__name__ == "StreamDataReceived"]
    assert answered == [(b"answer", True)]


def test_a_client_without_a_certificate_is_refused() -> None:
    pair, app = listener_for(Plain(None))
    pair.run(lambda: app.terminated)
    assert app.peer is None
    assert isinstance(reason(app), EmptyChain)


def test_a_client_of_another_protocol_is_refused() -> None:
    pair, app = listener_for(Plain(identity("dialer"), alpn="h3"))
    pair.run(lambda: app.terminated)
    assert app.peer is None
    assert isinstance(reason(app), HandshakeFailed)


def test_a_peer_that_breaks_the_protocol_is_dropped() -> None:
    scene = Scene(transport).connect()
    here, there = scene.open()
    sender = scene.pair.a.engine._connection.find(here)
    sender.max_stream_data_remote = sender.sender.highest_offset + (8 << 20)
    scene.pair.a.engine._connection._remote_max_data += 8 << 20
    scene.listener.reading = False
    for _ in range(3):
        scene.pair.a.engine._connection.send_stream_data(here, bytes(1 << 20))
    scene.run(lambda: scene.listener.terminated)
    assert isinstance(reason(scene.listener), RemoteProtocolError)
    assert finished(scene.listener.streams[there])
