"""The engine's set of streams: how they begin, how they end, and what strangers can do to them."""

from __future__ import annotations

from typing import Any

import pytest

from keynet.engine import Datagrams
from keynet.errors import (
    ClosedByPeer,
    ConnectionLost,
    HandshakeFailed,
    IdentityError,
    LocallyClosed,
    UnclaimedNodeId,
)
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, StaticLink
from keynet.testing.transport.scene import Scene, identity, payload
from keynet.transport.api import ConnectionTerminated, StreamClosed, StreamOpened
from keynet.transport.tls import TlsChannel
from keynet.transport.utp import transport
from keynet.transport.utp.connection import UtpConnection
from keynet.transport.utp.packet import PacketType, decode, encode
from keynet.transport.utp.table import MAX_UNPROVED
from tests.unit.utp.scenes import plain, plain_scene, sent_packets, sizes

DARK = LinkModel(partitioned=True)


def syn(connection_id: int, seq: int = 5) -> Datagrams:
    return Datagrams(encode(PacketType.SYN, connection_id, 0, 0, 1 << 20, seq, 0))


def listener(first: Datagrams) -> Any:
    return plain()().accept(StaticLink(), first, identity("listener"), START)


def drain_events(engine: Any) -> list[Any]:
    return list(iter(engine.next_event, None))


def kinds(batches: list[Datagrams]) -> list[int]:
    packets = [decode(bytes(datagram)) for batch in batches for datagram in batch]
    return [packet.type for packet in packets if packet]


class TestBeginning:
    @pytest.mark.parametrize("lost", [1, 2])
    def test_a_lost_syn_or_its_lost_answer_only_costs_time(self, lost: int) -> None:
        scene = Scene(plain())
        side = scene.pair.a if lost == 1 else scene.pair.b
        side.pipe.model = DARK
        scene.run(0.5)
        side.pipe.model = LinkModel()
        scene.run(lambda: scene.dialer.peer)
        assert scene.pair.now - START < 1.5
        here, there = scene.open()
        scene.dialer.send(here, payload(10_000))
        scene.run(lambda: len(scene.listener.streams[there].received) == 10_000)

    def test_a_flood_of_syns_is_bounded_and_passes(self) -> None:
        engine = listener(syn(2))
        answers = []
        for connection_id in range(1, 65_536):
            engine.receive(syn(connection_id & 0xFFFF), START)
            if connection_id % 100 == 0:
                answers += kinds(engine.datagrams_to_send(START))
        assert 1 < len(answers) <= MAX_UNPROVED + 1
        assert set(answers) == {PacketType.STATE}
        assert len(engine._table.live) <= MAX_UNPROVED
        while (deadline := engine.next_deadline()) is not None:
            engine.handle_deadline(deadline)
            engine.datagrams_to_send(deadline)
        assert deadline is None
        assert not engine._table.live
        [ended] = drain_events(engine)
        assert isinstance(ended, ConnectionTerminated)

    @pytest.mark.parametrize("connection_id", [0, 65_534, 65_535])
    def test_a_syn_with_a_forbidden_id_leaves_nothing_behind(self, connection_id: int) -> None:
        first = syn(connection_id)
        assert not plain()().claims(first.data)
        engine = listener(first)
        assert engine.datagrams_to_send(START) == []
        [ended] = drain_events(engine)
        assert isinstance(ended, ConnectionTerminated)
        assert engine.next_deadline() is None

    def test_many_streams_may_begin_at_once(self) -> None:
        scene = plain_scene()
        scene.open()
        began = scene.pair.now
        opened = [scene.dialer.open() for _ in range(400)]
        scene.run(lambda: all(scene.dialer.streams[i].established for i in opened))
        assert scene.pair.now - began < 0.5

    def test_a_flood_does_not_end_what_is_there(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        for connection_id in range(1, 2000):
            scene.listener.engine.receive(syn(connection_id), scene.pair.now)
        scene.dialer.send(here, payload(50_000))
        scene.run(lambda: len(scene.listener.streams[there].received) == 50_000)
        scene.run(20.0)
        assert sizes(scene)["half_open"] == 0

    def test_a_stranger_can_make_us_keep_little(self) -> None:
        """Who has proved nothing leaves a gap and sends all that the windows take, and more."""
        link = StaticLink()
        engine = transport().accept(link, syn(100), identity("listener"), START)
        for connection_id in range(102, 400, 2):
            engine.receive(syn(connection_id), START)
        answers = [decode(bytes(batch.data)) for batch in engine.datagrams_to_send(START)]
        assert len(answers) == MAX_UNPROVED
        assert all(answer and answer.window <= 1 << 16 for answer in answers)
        for answer in answers:
            assert answer is not None
            ids = (answer.connection_id + 1, 0, 0, 1 << 20)
            for seq in range(8, 400):
                head = encode(PacketType.DATA, *ids, seq, answer.seq_nr - 1)
                engine.receive(Datagrams(head + bytes(16_000)), START)
        held = sum(s.utp.inbound._order.early_bytes for s in engine._table.live.values())
        assert 0 < held <= MAX_UNPROVED * (2 << 16)

    def test_who_proved_itself_gets_a_large_window_at_once(self) -> None:
        scene = plain_scene()
        scene.open()
        scene.run(0.2)
        [stream] = scene.dialer.engine._table.live.values()
        assert stream.utp.outbound.peer_window > 1 << 20
        assert sizes(scene)["budget"] == 0

    def test_no_syn_takes_the_place_of_a_stream_that_this_side_opened(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.run(5.0)
        [stream] = scene.dialer.engine._table.live.values()
        scene.dialer.engine.receive(syn(stream.utp.receive_id - 1), scene.pair.now)
        scene.dialer.send(here, payload(5000))
        scene.run(lambda: len(scene.listener.streams[there].received) == 5000)

    def test_a_first_stream_that_the_peer_has_ended_meanwhile_is_not_given_out(self) -> None:
        scene = Scene(transport)
        scene.run(lambda: scene.listener.streams)
        [there] = scene.listener.streams
        scene.listener.send(there, b"you said nothing", eof=True)
        scene.run(1.0)
        here, there = scene.open()
        scene.dialer.send(here, payload(5000))
        scene.run(lambda: len(scene.listener.streams[there].received) == 5000)
        assert scene.dialer.streams[here].received == b""

    def test_who_restarts_with_the_same_id_takes_its_place(self) -> None:
        """utp-native always begins at the same connection id, whatever was there before."""
        scene = plain_scene()
        here, there = scene.open()
        scene.dialer.send(here, payload(5000))
        scene.run(1.0)
        receive_id = scene.listener.engine._table.live[there].utp.receive_id
        scene.pair.a.pipe.model = DARK
        scene.listener.send(there, payload(100_000))
        now = scene.pair.now
        scene.listener.engine.receive(syn(receive_id - 1, seq=9), now)
        assert there in scene.listener.engine._table.live, "a fresh stream was taken over"
        scene.run(3.5)
        packets = sent_packets(scene, "b")
        scene.listener.engine.receive(syn(receive_id - 1, seq=9), scene.pair.now)
        scene.pair.settle()
        [answer] = [packet for packet in packets if packet.ack_nr == 9]
        log = scene.listener.streams[there]
        assert not log.closed, "a SYN alone, which anybody can forge, ended a stream"
        acknowledged = encode(PacketType.DATA, receive_id, 0, 0, 1 << 20, 10, answer.seq_nr - 1)
        scene.listener.engine.receive(Datagrams(acknowledged + b"anew"), scene.pair.now)
        scene.pair.settle()
        assert isinstance(log.error, ClosedByPeer)
        packets.clear()
        scene.run(12.0)
        assert scene.listener.streams[scene.listener.opened[-1]].received == b"anew"
        assert packets == [], "the old one still talks"

    def test_a_blind_syn_ends_no_stream(self) -> None:
        """It guessed the id of a stream that rests, and does not see the answer."""
        scene = plain_scene()
        here, there = scene.open()
        scene.run(5.0)
        engine = scene.listener.engine
        receive_id = engine._table.live[there].utp.receive_id
        for seq in range(50):
            engine.receive(syn(receive_id - 1, seq), scene.pair.now)
            scene.run(0.01)
        assert sizes(scene)["live"] == 3, "the newest challenger is one too many"
        for ack in range(0, 65_536, 64):
            [challenger] = engine._table._challengers.values()
            if ack == (challenger.utp.outbound.board.una - 1) & 0xFFFF:
                continue
            guess = encode(PacketType.RESET, receive_id, 0, 0, 0, 1, ack)
            if abs(ack - engine._table.live[there].utp.outbound.board.una % 65_536) > 1:
                engine.receive(Datagrams(guess), scene.pair.now)
            guess = encode(PacketType.STATE, receive_id, 0, 0, 0, 1, ack)
            engine.receive(Datagrams(guess), scene.pair.now)
        scene.dialer.send(here, payload(50_000))
        scene.listener.send(there, payload(50_000))
        for logs in (scene.dialer.streams[here], scene.listener.streams[there]):
            scene.run(lambda log=logs: len(log.received) == 50_000)
        scene.run(20.0)
        found = sizes(scene)
        assert (found["live"], found["ids"], found["half_open"]) == (2, 2, 0)

    def test_who_answers_a_challenge_may_have_waited_for_the_old_stream_to_end(self) -> None:
        scene = plain_scene()
        _, there = scene.open()
        scene.run(5.0)
        engine, now = scene.listener.engine, scene.pair.now
        receive_id = engine._table.live[there].utp.receive_id
        packets = sent_packets(scene, "b")
        engine.receive(syn(receive_id - 1, seq=9), now)
        scene.pair.settle()
        scene.listener.reset(there)
        [answer] = [packet for packet in packets if packet.ack_nr == 9]
        data = encode(PacketType.DATA, receive_id, 0, 0, 1 << 20, 10, answer.seq_nr - 1)
        engine.receive(Datagrams(data + b"anew"), now)
        scene.pair.settle()
        assert scene.listener.streams[scene.listener.opened[-1]].received == b"anew"
        assert sizes(scene)["ids"] == len(engine._table.live) + len(scene.dialer.engine._table.live)

    def test_a_stranger_may_restart_before_it_has_proved_anything(self) -> None:
        engine = listener(syn(100, seq=5))
        engine.datagrams_to_send(START)
        engine.receive(syn(100, seq=77), START + 4)
        [answer] = engine.datagrams_to_send(START + 4)
        packet = decode(bytes(answer.data))
        assert packet is not None
        assert packet.ack_nr == 77
        assert drain_events(engine) == []
        data = encode(PacketType.DATA, 101, 0, 0, 0, 78, packet.seq_nr - 1) + b"x"
        engine.receive(Datagrams(data), START + 4.1)
        assert any(isinstance(event, StreamOpened) for event in drain_events(engine))

    def test_unknown_ids_are_answered_by_a_few_resets_and_those_by_none(self) -> None:
        scene = plain_scene()
        scene.open()
        engine, now = scene.listener.engine, scene.pair.now
        for connection_id in range(3, 4000, 2):
            packet = encode(PacketType.DATA, connection_id, 0, 0, 0, 1, 1) + b"x"
            engine.receive(Datagrams(packet), now)
        answers = engine.datagrams_to_send(now)
        assert 0 < len(answers) <= 20
        assert set(kinds(answers)) == {PacketType.RESET}
        for answer in answers:
            engine.receive(answer, now)
        assert engine.datagrams_to_send(now) == []

    def test_no_answer_means_no_connection(self) -> None:
        scene = Scene(plain(), link=DARK)
        scene.run(lambda: scene.dialer.terminated)
        assert scene.pair.now == pytest.approx(START + 15)
        assert scene.pair.a.engine.next_deadline() is None


class TestIdentity:
    def test_a_refused_listener_hears_why(self) -> None:
        scene = Scene(transport, expected=identity("somebody else").node_id)
        scene.run(lambda: scene.dialer.terminated and scene.listener.terminated)
        assert scene.dialer.terminated
        assert scene.listener.terminated
        assert isinstance(scene.dialer.terminated.error, UnclaimedNodeId)
        error = scene.listener.terminated.error
        assert isinstance(error, HandshakeFailed)
        assert "alert" in str(error)

    def test_a_stream_that_proves_another_node_is_refused_alone(self) -> None:
        scene = Scene(transport).connect()
        here, there = scene.open()
        impostor, expected = identity("impostor"), identity("listener").node_id
        scene.dialer.engine._factory._make_channel = lambda *_: TlsChannel(
            impostor, server=False, expected=expected
        )
        bad = scene.dialer.open()
        scene.run(lambda: scene.dialer.streams[bad].closed)
        assert isinstance(scene.dialer.streams[bad].error, ClosedByPeer)
        assert len(scene.listener.opened) == 1
        scene.dialer.send(here, b"still here")
        scene.run(lambda: scene.listener.streams[there].received == b"still here")

    def test_a_listener_that_proves_another_node_on_a_later_stream_is_refused(self) -> None:
        scene = Scene(transport).connect()
        here, there = scene.open()
        scene.listener.engine._factory._make_channel = lambda *_: TlsChannel(
            identity("impostor"), server=True, expected=None
        )
        for expected in (identity("listener").node_id, None):
            scene.dialer.engine._factory._make_channel = lambda *_, expected=expected: TlsChannel(
                scene.dialing, server=False, expected=expected
            )
            bad = scene.dialer.open()
            scene.run(lambda bad=bad: scene.dialer.streams[bad].closed)
            assert isinstance(scene.dialer.streams[bad].error, IdentityError)
        scene.dialer.send(here, b"still here")
        scene.run(lambda: scene.listener.streams[there].received == b"still here")

    def test_a_stream_that_was_opened_before_a_rotation_and_is_heard_of_after_it(self) -> None:
        """Its SYN was lost; meanwhile another stream has proved the newer key."""
        scene = Scene(transport).connect()
        streams = scene.open()
        scene.pair.a.pipe.model = DARK
        late = scene.dialer.open()
        scene.run(0.1)
        scene.pair.a.pipe.model = LinkModel()
        scene.dialer.engine.identity_changed(identity("dialer'"), scene.pair.now)
        scene.open()
        assert scene.listener.peer
        assert scene.listener.peer.node_id == identity("dialer'").node_id
        assert not scene.dialer.streams[late].established
        scene.dialer.send(late, b"late")
        scene.run(lambda: scene.listener.streams[scene.listener.opened[-1]].received == b"late")
        assert scene.listener.peer.node_id == identity("dialer'").node_id, "it went back"
        assert not any(log.closed for log in scene.listener.streams.values())
        assert streams[0] in scene.dialer.engine._table.live

    def test_the_first_stream_is_not_given_out_when_it_has_proved_an_old_identity(self) -> None:
        scene = Scene(transport).connect()
        scene.dialer.engine.identity_changed(identity("dialer'"), scene.pair.now)
        scene.open()
        assert scene.listener.peer
        assert scene.listener.peer.node_id == identity("dialer'").node_id
        assert len(scene.dialer.engine._table.live) == 1


class TestEnding:
    def test_close_before_the_handshake_is_a_local_close(self) -> None:
        scene = Scene(plain(), link=LinkModel(latency=0.1))
        scene.run(0.05)
        here = scene.dialer.open()
        scene.dialer.close()
        scene.dialer.close()
        scene.run(lambda: scene.dialer.terminated)
        assert scene.dialer.terminated == ConnectionTerminated(None)
        assert isinstance(scene.dialer.streams[here].error, LocallyClosed)

    def test_what_was_acknowledged_can_be_read_after_the_peer_has_closed(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.listener.reading = False
        data = payload(300_000)
        scene.dialer.send(here, data)
        scene.run(5.0)
        assert scene.dialer.streams[here].taken == len(data)
        scene.dialer.close()
        scene.run(lambda: scene.dialer.terminated)
        scene.run(30.0)
        log = scene.listener.streams[there]
        assert not log.closed, f"closed with {log.error!r} before its bytes were read"
        scene.listener.reading = True
        scene.listener.read()
        scene.run(lambda: log.closed)
        assert log.received == data
        assert log.ended
        assert isinstance(log.error, ClosedByPeer)

    def test_a_writer_learns_of_the_close_by_reading_and_never_waits(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.dialer.reading = scene.listener.reading = False
        scene.dialer.send(here, b"unread")
        scene.listener.send(there, payload(6 << 20))
        scene.run(2.0)
        assert scene.listener.streams[there].unsent
        scene.dialer.close()
        scene.run(10.0)
        assert not scene.listener.streams[there].unsent
        scene.listener.reading = True
        scene.listener.read()
        scene.run(0.1)
        log = scene.listener.streams[there]
        assert (log.received, log.ended) == (b"unread", True)
        assert isinstance(log.error, ClosedByPeer)
        assert sizes(scene)["live"] == 0

    def test_a_close_with_nothing_unread_is_told_at_once(self) -> None:
        for make in (plain(), transport):
            scene = Scene(make)
            scene.run(lambda scene=scene: scene.dialer.peer)
            _, there = scene.open()
            scene.listener.reading = False
            scene.dialer.close()
            log = scene.listener.streams[there]
            scene.run(lambda log=log: log.closed, limit=2.0)
            assert log.ended
            assert isinstance(log.error, ClosedByPeer)

    def test_a_reset_drops_what_was_not_complete(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.listener.reading = False
        scene.dialer.send(here, payload(50_000))
        scene.run(1.0)
        scene.dialer.reset(here)
        scene.run(lambda: scene.listener.streams[there].closed)
        assert isinstance(scene.listener.streams[there].error, ClosedByPeer)

    def test_unread_bytes_outlive_the_end_and_the_linger(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.listener.reading = False
        data = payload(200_000)
        scene.dialer.send(here, data, eof=True)
        scene.listener.send(there, b"", eof=True)
        scene.run(lambda: scene.dialer.streams[here].closed)
        scene.run(300.0)
        scene.listener.reading = True
        scene.listener.read()
        scene.run(0.1)
        log = scene.listener.streams[there]
        assert (log.received, log.ended, log.closed, log.error) == (data, True, True, None)
        assert sizes(scene)["ids"] == 0

    def test_a_reset_stream_leaves_the_others_alone(self) -> None:
        scene = plain_scene(link=LinkModel(latency=0.02, loss=0.02))
        streams = [scene.open() for _ in range(6)]
        data = payload(200_000)
        for here, there in streams:
            scene.dialer.send(here, data, eof=True)
            scene.listener.send(there, b"", eof=True)
        scene.run(0.05)
        scene.dialer.reset(streams[0][0])
        scene.listener.reset(streams[1][1])
        logs = [scene.listener.streams[there] for _, there in streams]
        scene.run(lambda: all(log.closed for log in logs))
        assert isinstance(logs[0].error, ClosedByPeer)
        assert all(log.received == data and log.error is None for log in logs[2:])

    def test_both_ends_may_close_at_once(self) -> None:
        scene = plain_scene()
        here, there = scene.open()
        scene.dialer.send(here, payload(100_000))
        scene.listener.send(there, payload(100_000))
        scene.run(0.015)
        scene.dialer.close()
        scene.listener.close()
        scene.run(lambda: scene.dialer.terminated and scene.listener.terminated)
        assert scene.dialer.terminated == scene.listener.terminated == ConnectionTerminated(None)
        scene.run(5.0)
        assert sizes(scene)["live"] == sizes(scene)["budget"] == 0

    def test_close_into_the_void_ends_in_time(self) -> None:
        scene = plain_scene()
        here, _ = scene.open()
        scene.pair.a.pipe.model = scene.pair.b.pipe.model = DARK
        scene.dialer.send(here, payload(100_000))
        began = scene.pair.now
        scene.dialer.close()
        scene.run(lambda: scene.dialer.terminated)
        assert scene.pair.now - began <= 1.0 + 1e-6
        scene.run(lambda: scene.listener.streams[1].closed, limit=300)
        assert isinstance(scene.listener.streams[1].error, ConnectionLost)

    def test_events_of_a_stream_end_with_its_close(self) -> None:
        """Also when room for the writer and the end come in one turn."""
        scene = plain_scene()
        here, _ = scene.open()
        scene.listener.reading = False
        scene.dialer.send(here, payload(3 << 20))
        scene.run(1.0)
        scene.dialer.close()
        scene.listener.reading = True
        scene.listener.read()
        scene.run(lambda: scene.dialer.terminated)
        closed = [e for e in scene.pair.a.events if isinstance(e, StreamClosed)]
        assert [event.stream_id for event in closed] == [here]


class TestGrowth:
    def test_reset_streams_are_forgotten_at_once(self) -> None:
        scene = plain_scene()
        scene.open()
        for _ in range(60):
            opened = [scene.dialer.open() for _ in range(30)]
            scene.run(
                lambda opened=opened: all(scene.dialer.streams[i].established for i in opened)
            )
            for stream_id in opened:
                scene.dialer.reset(stream_id)
            scene.run(0.05)
        assert all(size <= 130 for size in sizes(scene).values()), sizes(scene)
        kept = {entry[2] for entry in scene.listener.engine._deadlines._heap}
        assert len(kept) <= 100

    def test_finished_streams_are_forgotten_soon(self) -> None:
        scene = plain_scene()
        scene.listener.on_ended = lambda stream: scene.listener.send(stream, b"", eof=True)
        for _ in range(300):
            scene.dialer.send(scene.dialer.open(), b"hello", eof=True)
            scene.run(0.03)
        scene.run(5.0)
        found = sizes(scene)
        assert found["live"] == found["ids"] == found["dirty"] == found["budget"] == 0
        assert found["deadlines"] <= 130
        assert all(log.closed for log in scene.dialer.streams.values())

    def test_idle_streams_cost_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scene = plain_scene()
        for _ in range(300):
            scene.open()
        here, there = scene.open()
        scene.run(2.0)
        asked: set[int] = set()
        for name in ("datagrams_to_send", "handle_deadline", "next_deadline", "receive"):
            original = getattr(UtpConnection, name)

            def counted(self: Any, *args: Any, original: Any = original) -> Any:
                asked.add(id(self))
                return original(self, *args)

            monkeypatch.setattr(UtpConnection, name, counted)
        scene.dialer.send(here, payload(500_000))
        scene.run(lambda: len(scene.listener.streams[there].received) == 500_000)
        assert len(asked) == 2
