"""Whole transfers over paths that shrink, vanish, wrap, fill and are shared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keynet.errors import ConnectionLost
from keynet.testing.link import LinkModel
from keynet.testing.transport.scene import Scene, payload
from keynet.transport.utp import transport
from keynet.transport.utp.mtu import BASE_SIZE
from keynet.transport.utp.packet import PacketType
from tests.unit.utp.scenes import plain_scene, sent_packets, sizes

DARK = LinkModel(partitioned=True)


def transfer(scene: Scene, size: int, *, limit: float = 120.0, seed: int = 1) -> float:
    """Carry bytes to the listener and both ends; returns how long that took."""
    here, there = scene.open()
    began, data = scene.pair.now, payload(size, seed)
    scene.dialer.send(here, data, eof=True)
    scene.listener.send(there, b"", eof=True)
    log = scene.listener.streams[there]
    scene.run(lambda: log.closed and scene.dialer.streams[here].closed, limit=limit)
    assert log.error is None
    assert log.received == data
    return scene.pair.now - began


def set_path(scene: Scene, model: LinkModel) -> None:
    scene.pair.a.pipe.model = scene.pair.b.pipe.model = model


class TestNumbers:
    @pytest.mark.parametrize("first_seq", [65_500, 65_534, 65_535])
    def test_they_wrap_amid_loss_and_reordering(self, first_seq: int) -> None:
        link = LinkModel(loss=0.05, reordering=0.1, duplication=0.1)
        transfer(plain_scene(first_seq=first_seq, link=link), 300_000)

    @pytest.mark.slow
    def test_more_packets_than_there_are_numbers(self) -> None:
        link = LinkModel(latency=0.001, loss=0.0005)
        scene = plain_scene(link=link, mtu=40, mtu_ceiling=40)
        packets = sent_packets(scene)
        transfer(scene, 70_000 * 20)
        assert sum(packet.type == PacketType.DATA for packet in packets) > 70_000


class TestPacketSize:
    @pytest.mark.parametrize(
        ("mtu", "ceiling", "found"),
        [
            (1472, 1472, 1472),
            (1472, 9000, 1472),
            (1452, 1472, 1452),
            (1232, 1472, 1200),
            (8952, 8952, 8952),
            (65_507, 65_507, 65_507),
            (8952, 65_507, 8952),
            (4052, 65_507, 4052),
        ],
    )
    def test_the_largest_that_passes_is_found(self, mtu: int, ceiling: int, found: int) -> None:
        scene = plain_scene(link=LinkModel(latency=0.005, mtu=mtu, rate=4e5), mtu_ceiling=ceiling)
        transfer(scene, 2_000_000)
        assert scene.dialer.engine.stats()["packet_size"] == found

    def test_a_path_that_also_drops_fragments_breaks_nothing(self) -> None:
        """Sockets know no fragments of a relay: what is too big for it is gone for ever."""
        scene = plain_scene(link=LinkModel(latency=0.01, mtu=1300), mtu_ceiling=65_507)
        packets = sent_packets(scene)
        transfer(scene, 1_000_000)
        assert max(len(p.payload) for p in packets if p.type == PacketType.DATA) < 1300

    def test_probes_that_fail_cost_a_little_and_break_nothing(self) -> None:
        small = plain_scene(link=LinkModel(latency=0.02, mtu=1232), mtu_ceiling=1232)
        wrong = plain_scene(link=LinkModel(latency=0.02, mtu=1232), mtu_ceiling=65_507)
        assert transfer(wrong, 1_000_000) < transfer(small, 1_000_000) + 2.0
        assert wrong.pair.a.pipe.counts["too_big"] > 0

    @pytest.mark.parametrize("ceiling", [1472, 8952, 65_507])
    def test_a_path_that_shrinks_without_a_word_is_survived(self, ceiling: int) -> None:
        wide = LinkModel(latency=0.01, mtu=ceiling, rate=2e6)
        scene = plain_scene(link=wide, mtu_ceiling=ceiling)
        transfer(scene, 1_500_000)
        assert scene.dialer.engine.stats()["packet_size"] == ceiling
        here, there = scene.open()
        data = payload(1_000_000)
        scene.dialer.send(here, data)
        scene.run(0.1)
        set_path(scene, replace(wide, mtu=BASE_SIZE))
        scene.run(lambda: len(scene.listener.streams[there].received) == len(data), limit=15)
        assert scene.listener.streams[there].received == data

    def test_a_path_that_widens_is_used_when_the_link_says_so(self) -> None:
        narrow = LinkModel(latency=0.01, mtu=1232, rate=2e6)
        scene = plain_scene(link=narrow, mtu_ceiling=8952)
        transfer(scene, 1_000_000)
        wide = replace(narrow, mtu=8952)
        scene.change_path(wide, mtu=1200, rtt=0.02)
        transfer(scene, 3_000_000)
        assert scene.dialer.engine.stats()["packet_size"] == 8952

    def test_foreign_peers_are_sent_no_jumbo_before_they_proved_to_be_ours(self) -> None:
        scene = Scene(transport, link=LinkModel(mtu=65_507), mtu=65_000, mtu_ceiling=65_507)
        packets = sent_packets(scene)
        scene.connect()
        assert max(len(packet.payload) for packet in packets) <= 1452


class TestWindows:
    def test_a_lost_window_update_is_made_good(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.listener.reading = False
        data = payload(9 << 20)
        scene.dialer.send(here, data)
        scene.run(5.0)
        log = scene.listener.streams[there]
        assert scene.dialer.engine._table.live[here].utp.outbound.peer_window == 0
        scene.pair.b.pipe.model = DARK
        scene.listener.reading = True
        scene.listener.read()
        scene.run(0.2)
        scene.pair.b.pipe.model = LinkModel()
        scene.run(lambda: len(log.received) == len(data), limit=20)
        assert log.received == data

    def test_a_closed_window_is_waited_for_without_end(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.listener.reading = False
        scene.dialer.send(here, payload(9 << 20))
        scene.run(5.0)
        sent = scene.pair.a.pipe.counts["sent"]
        scene.run(600.0)
        assert not scene.dialer.streams[here].closed
        assert scene.pair.a.pipe.counts["sent"] - sent <= 600
        inbound = scene.listener.engine._table.live[there].utp.inbound
        assert inbound.unread <= (4 << 20) + 65_536
        scene.listener.reading = True
        scene.listener.read()
        scene.run(lambda: len(scene.listener.streams[there].received) == 9 << 20, limit=20)

    def test_nothing_is_refused_on_a_path_without_loss(self) -> None:
        """Windows are kept to the byte while a slow reader opens them by and by."""
        scene = plain_scene(link=LinkModel(latency=0.05))
        here, there = scene.open()
        scene.listener.reading = False
        data = payload(6 << 20)
        scene.dialer.send(here, data)
        engine, log = scene.listener.engine, scene.listener.streams[there]
        while len(log.received) < len(data):
            scene.run(0.03)
            log.received += engine.read(there, 200_000, scene.pair.now)
            assert scene.pair.now < 1200
        assert log.received == data
        assert engine.stats()["received_drops"] == 0
        assert scene.dialer.engine.stats()["retransmitted"] == 0


class TestSharing:
    def test_streams_take_turns(self) -> None:
        scene = plain_scene(link=LinkModel(latency=0.01, rate=2e6))
        streams = [scene.open() for _ in range(16)]
        for here, there in streams:
            scene.dialer.send(here, payload(1 << 19, here))
            assert there in scene.listener.streams
        scene.run(2.0)
        received = [len(scene.listener.streams[there].received) for _, there in streams]
        assert sum(received) > 2e6
        assert min(received) > 0.3 * max(received), received

    def test_small_words_are_not_held_up_by_a_bulk_stream(self) -> None:
        scene = plain_scene("bbr", link=LinkModel(latency=0.01, rate=2e6))
        (bulk, _), (talk, heard) = scene.open(), scene.open()
        scene.dialer.send(bulk, payload(10 << 20))
        scene.run(2.0)
        slowest = 0.0
        for n in range(20):
            began = scene.pair.now
            scene.dialer.send(talk, b"%04d" % n)
            log = scene.listener.streams[heard]
            scene.run(lambda log=log, n=n: len(log.received) == 4 * n + 4)
            slowest = max(slowest, scene.pair.now - began)
        assert slowest < 0.2


class TestSilence:
    def test_an_idle_stream_ends_when_its_peer_is_gone(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.run(300.0)
        assert not scene.dialer.streams[here].closed
        set_path(scene, DARK)
        scene.run(lambda: scene.dialer.streams[here].closed, limit=110)
        assert isinstance(scene.dialer.streams[here].error, ConnectionLost)
        scene.run(lambda: scene.listener.streams[there].closed, limit=30)

    @pytest.mark.parametrize("latency", [0.001, 0.03, 0.1])
    def test_a_writer_learns_of_a_dead_path_in_fifteen_seconds(self, latency: float) -> None:
        scene = plain_scene(link=LinkModel(latency=latency))
        here, _ = scene.open()
        scene.run(1.0)
        set_path(scene, DARK)
        scene.dialer.send(here, b"anybody?")
        began = scene.pair.now
        scene.run(lambda: scene.dialer.streams[here].closed, limit=60)
        assert 15 <= scene.pair.now - began <= 16

    def test_a_short_darkness_is_survived(self) -> None:
        scene = plain_scene(link=LinkModel(latency=0.02, rate=2e6))
        here, there = scene.open()
        data = payload(3_000_000)
        scene.dialer.send(here, data)
        for _ in range(3):
            scene.run(0.2)
            set_path(scene, DARK)
            scene.run(2.0)
            set_path(scene, LinkModel(latency=0.02, rate=2e6))
        scene.run(lambda: len(scene.listener.streams[there].received) == len(data), limit=30)
        assert scene.listener.streams[there].received == data

    def test_a_new_path_revives_a_silent_connection_at_once(self) -> None:
        scene = plain_scene(link=LinkModel(latency=0.02, rate=2e6))
        here, there = scene.open()
        data = payload(400_000)
        scene.dialer.send(here, data)
        scene.run(0.1)
        set_path(scene, DARK)
        scene.run(10.0)
        scene.change_path(LinkModel(latency=0.02, rate=2e6), mtu=1200, rtt=0.04)
        scene.run(lambda: len(scene.listener.streams[there].received) == len(data), limit=2)


@pytest.mark.parametrize("congestion", ["bbr", "cubic", "ledbat"])
def test_storms_leave_nothing_behind(congestion: str) -> None:
    scene = plain_scene(congestion, link=LinkModel(latency=0.01))
    scene.listener.on_ended = lambda stream: scene.listener.send(stream, b"", eof=True)
    storms = [
        LinkModel(loss=0.3, reordering=0.3, duplication=0.3, jitter=0.02),
        LinkModel(loss=0.05, rate=200_000, queue=10_000),
        DARK,
        LinkModel(mtu=1232),
        LinkModel(latency=0.15),
    ]
    for storm in storms:
        set_path(scene, storm)
        for n in range(8):
            stream = scene.dialer.open()
            scene.dialer.send(stream, payload(60_000, n), eof=True)
        scene.run(3.0)
    set_path(scene, LinkModel(latency=0.01))
    scene.run(200.0)
    found = sizes(scene)
    assert found.pop("deadlines") <= 130
    assert set(found.values()) == {0}, found
