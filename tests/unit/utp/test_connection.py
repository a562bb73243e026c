"""One uTP connection by itself: both handshakes, every way to end, and its timers."""

from __future__ import annotations

from random import Random

import pytest

from keynet.engine import Datagrams
from keynet.errors import ClosedByPeer, ConnectionLost, DeadlineExceeded
from keynet.identity import verify_chain
from keynet.testing.plain import PlainChannel
from keynet.testing.transport.scene import identity
from keynet.transport.utp import congestion
from keynet.transport.utp.connection import (
    DELAYED_ACK,
    HANDSHAKE_TIMEOUT,
    IDLE_TIMEOUT,
    KEEPALIVE_INTERVAL,
    LINGER,
    SMALL,
    State,
    UtpConnection,
)
from keynet.transport.utp.mtu import PathMtu
from keynet.transport.utp.packet import Packet, PacketType, decode, encode, encode_batch
from keynet.udp.budget import ReceiveBudget

START = 1000.0
MSS = 1200


def channel() -> PlainChannel:
    return PlainChannel(verify_chain(identity("peer").chain, None))


def connection(syn: Packet | None = None, seq_nr: int = 300, now: float = START) -> UtpConnection:
    return UtpConnection(
        100 if syn is None else syn.connection_id + 1,
        syn=syn,
        seq_nr=seq_nr,
        source=channel(),
        mtu=PathMtu(MSS, MSS),
        congestion=congestion.create("cubic", MSS, now, Random(1)),
        budget=ReceiveBudget(1 << 20),
        now=now,
    )


def packets(batches: list[Datagrams]) -> list[Packet]:
    found = [decode(bytes(datagram)) for batch in batches for datagram in batch]
    assert None not in found
    return [packet for packet in found if packet is not None]


def said(by: UtpConnection, now: float = START) -> list[Packet]:
    out: list[Packet] = []
    while more := by.datagrams_to_send(now):
        out += packets(more)
    return out


def tell(to: UtpConnection, heard: list[Packet], now: float = START) -> None:
    for packet in heard:
        if packet.type == PacketType.SYN:
            to.receive_syn(packet)
        else:
            to.receive(packet, now)


def write(to: UtpConnection, data: bytes) -> None:
    to.outbound.source.write(data)  # type: ignore[attr-defined]


def read(of: UtpConnection) -> bytes:
    return b"".join(iter(of.inbound.take, None))


def converse(a: UtpConnection, b: UtpConnection, now: float = START) -> None:
    """Carry everything between the two until both are silent."""
    for _ in range(100):
        out, back = said(a, now), said(b, now)
        tell(b, out, now)
        tell(a, back, now)
        if not out and not back:
            return
    raise AssertionError("they never stop talking")


def connected(seq_a: int = 300, seq_b: int = 700) -> tuple[UtpConnection, UtpConnection]:
    a = connection(seq_nr=seq_a)
    b = connection(said(a)[0], seq_nr=seq_b)
    tell(a, said(b))
    a.proved = b.proved = True
    write(a, bytes(2 * SMALL))  # a small one's acknowledgement would wait for an answer
    converse(a, b)
    assert len(read(b)) == 2 * SMALL
    assert (a.state, b.state) == (State.CONNECTED, State.CONNECTED)
    return a, b


def finished() -> tuple[UtpConnection, UtpConnection]:
    a, b = connected()
    a.finish()
    b.finish()
    converse(a, b)
    assert (a.state, b.state) == (State.FINISHED, State.FINISHED)
    return a, b


def forged(of: UtpConnection, kind: PacketType, seq: int, ack: int, payload: bytes = b"") -> Packet:
    packet = decode(encode(kind, of.receive_id, 0, 0, 1 << 20, seq, ack) + payload)
    assert packet is not None
    return packet


def silent_after_the_end(*ended: UtpConnection) -> None:
    for one in ended:
        assert said(one, START + 1) == []
        assert one.next_deadline() is None
        one.handle_deadline(START + 1000)
        assert said(one, START + 1000) == []


class TestHandshake:
    def test_the_numbers_are_those_of_bep_29(self) -> None:
        a = connection(seq_nr=300)
        [syn] = said(a)
        assert (syn.type, syn.connection_id, syn.seq_nr) == (PacketType.SYN, 100, 300)
        b = connection(syn, seq_nr=700)
        [answer] = said(b)
        assert (answer.type, answer.connection_id) == (PacketType.STATE, 100)
        assert (answer.seq_nr, answer.ack_nr) == (700, 300)
        tell(a, [answer])
        write(a, b"x")
        [data] = said(a)
        assert (data.connection_id, data.seq_nr, data.ack_nr) == (101, 301, 699)
        tell(b, [data])
        write(b, b"y")
        back = said(b)
        assert (back[0].type, back[0].seq_nr, back[0].ack_nr) == (PacketType.DATA, 700, 301)

    @pytest.mark.parametrize(("a", "b"), [(65535, 65535), (65534, 1), (1, 65535)])
    def test_the_numbers_may_wrap_at_once(self, a: int, b: int) -> None:
        here, there = connected(a, b)
        write(here, bytes(range(256)) * 30)
        write(there, b"back")
        converse(here, there)
        assert read(there) == bytes(range(256)) * 30
        assert read(here) == b"back"

    def test_a_lost_syn_is_sent_again_identically_but_for_the_time(self) -> None:
        a = connection()
        [first] = said(a)
        times = []
        while a.state is State.SYN_SENT:
            deadline = a.next_deadline()
            assert deadline is not None
            assert said(a, deadline - 0.001) == []
            a.handle_deadline(deadline)
            if again := said(a, deadline):
                times.append(deadline - START)
                assert again[0]._replace(timestamp=first.timestamp) == first
        assert times == [1, 3, 7]
        assert isinstance(a.error, DeadlineExceeded)
        assert deadline == START + HANDSHAKE_TIMEOUT
        silent_after_the_end(a)

    def test_a_repeated_syn_is_answered_with_the_same_bytes(self) -> None:
        a = connection()
        [syn] = said(a)
        b = connection(syn)
        answer = [bytes(batch.data) for batch in b.datagrams_to_send(START)]
        for n in range(1, 4):
            assert b.receive_syn(syn._replace(timestamp=n))
            assert b.receive_syn(syn)
            assert [bytes(batch.data) for batch in b.datagrams_to_send(START + n)] == answer

    def test_another_syn_is_not_answered(self) -> None:
        a = connection()
        [syn] = said(a)
        b = connection(syn)
        said(b)
        assert not b.receive_syn(syn._replace(seq_nr=301))
        assert said(b) == []

    def test_a_repeated_syn_ack_does_not_disturb(self) -> None:
        a = connection()
        b = connection(said(a)[0])
        [answer] = said(b)
        tell(a, [answer])
        write(a, b"x")
        converse(a, b)
        tell(a, [answer, answer])
        write(b, b"y")
        converse(a, b)
        assert (read(b), read(a)) == (b"x", b"y")

    @pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.FIN, PacketType.STATE])
    def test_an_answer_to_something_else_is_no_answer(self, kind: PacketType) -> None:
        a = connection(seq_nr=300)
        said(a)
        wrong = 299 if kind is PacketType.STATE else 300
        tell(a, [forged(a, kind, 700, wrong), forged(a, kind, 700, 301)])
        assert a.state is State.SYN_SENT

    def test_a_dialer_that_falls_silent_is_forgotten(self) -> None:
        b = connection(said(connection())[0])
        said(b)
        assert b.next_deadline() == START + HANDSHAKE_TIMEOUT
        b.handle_deadline(START + HANDSHAKE_TIMEOUT)
        assert isinstance(b.error, ConnectionLost)
        silent_after_the_end(b)

    def test_the_end_of_the_wait_is_measured_from_the_syn(self) -> None:
        a = connection()
        b = connection(said(a)[0])
        said(b)
        for _ in range(14):
            assert b.receive_syn(said_syn())
        b.handle_deadline(START + HANDSHAKE_TIMEOUT)
        assert b.state is State.CLOSED


def said_syn() -> Packet:
    return said(connection())[0]


class TestEnding:
    def test_either_side_may_finish_first_and_hear_the_rest(self) -> None:
        a, b = connected()
        a.finish()
        converse(a, b)
        assert b.inbound.eof
        write(b, bytes(5000))
        b.finish()
        converse(a, b)
        assert len(read(a)) == 5000
        assert (a.state, b.state) == (State.FINISHED, State.FINISHED)

    def test_both_fins_may_cross(self) -> None:
        a, b = connected()
        a.finish()
        b.finish()
        out, back = said(a), said(b)
        assert (out[0].type, back[0].type) == (PacketType.FIN, PacketType.FIN)
        tell(a, back)
        tell(b, out)
        converse(a, b)
        assert (a.state, b.state) == (State.FINISHED, State.FINISHED)

    def test_a_fin_goes_out_after_all_that_was_written(self) -> None:
        a, b = connected()
        write(a, bytes(3000))
        a.finish()
        a.finish()
        kinds = [packet.type for packet in said(a)]
        assert kinds == [PacketType.DATA] * 3 + [PacketType.FIN]
        assert b.state is State.CONNECTED

    def test_a_lost_fin_is_sent_again(self) -> None:
        a, b = connected()
        a.finish()
        said(a)
        for _ in range(3):
            now = a.next_deadline()
            assert now is not None
            a.handle_deadline(now)
            [again] = [p for p in said(a, now) if p.type == PacketType.FIN]
        tell(b, [again], now)
        assert b.inbound.eof

    def test_a_lost_last_ack_is_repeated_while_it_lingers(self) -> None:
        a, b = connected()
        a.finish()
        converse(a, b)
        b.finish()
        [fin] = said(b)
        tell(a, [fin])
        assert a.state is State.FINISHED
        said(a)  # and lost
        now = b.next_deadline()
        assert now is not None
        b.handle_deadline(now)
        tell(a, said(b, now), now)
        tell(b, said(a, now), now)
        assert b.state is State.FINISHED
        assert a.next_deadline() == START + LINGER
        a.handle_deadline(START + LINGER)
        assert a.forgotten
        assert a.next_deadline() is None

    def test_a_fin_that_overtook_a_batch_ends_it_too(self) -> None:
        a, b = connected()
        b.finish()
        converse(a, b)
        write(a, bytes(4 * (MSS - 20)))
        a.finish()
        *data, fin = said(a)
        tell(b, [fin])
        head = encode(PacketType.DATA, b.receive_id, 0, 0, 0, data[0].seq_nr, data[0].ack_nr)
        image = encode_batch(head, b"".join(bytes(p.payload) for p in data), MSS - 20)
        b.receive_batch(memoryview(image), MSS, START)
        assert b.inbound.eof
        assert b.state is State.FINISHED

    def test_a_finished_connection_takes_no_more_of_the_budget(self) -> None:
        a, _ = finished()
        first = a.inbound.ack_nr - 200
        head = encode(PacketType.DATA, a.receive_id, 0, 0, 0, first, 302)
        for n in range(20):
            image = encode_batch(head, bytes(60 * 1180), 1180)
            a.receive_batch(memoryview(image), 1200, START + n / 100)
        assert a.inbound.active
        a.handle_deadline(START + LINGER)
        assert not a.inbound.active

    def test_a_reset_ends_both_directions_and_says_so(self) -> None:
        a, b = connected()
        write(a, bytes(5000))
        said(a)
        a.reset(START)
        a.reset(START)
        [last] = said(a)
        assert last.type == PacketType.RESET
        tell(b, [last])
        assert isinstance(b.error, ClosedByPeer)
        silent_after_the_end(a, b)

    def test_a_reset_before_the_syn_went_out_says_nothing(self) -> None:
        a = connection()
        a.reset(START)
        silent_after_the_end(a)

    def test_a_reset_of_a_finished_connection_does_nothing(self) -> None:
        a, b = finished()
        a.reset(START)
        assert a.state is State.FINISHED
        tell(b, [forged(b, PacketType.RESET, 1, 701)])
        assert b.error is None

    @pytest.mark.parametrize(
        ("ack", "believed"),
        [(-2, False), (-1, True), (0, True), (3, True), (4, False), (30_000, False)],
    )
    def test_a_reset_must_acknowledge_something_plausible(self, ack: int, believed: bool) -> None:
        a, _ = connected()
        write(a, bytes(3 * (MSS - 20)))
        said(a)
        board = a.outbound.board
        assert board.next_seq - board.una == 3
        tell(a, [forged(a, PacketType.RESET, 0, (board.una + ack) & 0xFFFF)])
        assert (a.state is State.CLOSED) == believed

    def test_abort_lets_the_last_words_out_before_the_reset(self) -> None:
        a, b = connected()
        write(a, b"alert")
        a.abort(START)
        words = said(a)
        assert [packet.type for packet in words] == [PacketType.DATA, PacketType.RESET]
        tell(b, words)
        assert read(b) == b"alert"
        assert b.state is State.CLOSED
        silent_after_the_end(a)


class TestProof:
    @pytest.mark.parametrize("off", [-2, -1, 1, 2, 1000, 32_000])
    def test_who_has_not_seen_the_syn_ack_does_not_connect(self, off: int) -> None:
        """Its sender may have forged the address: answering would flood somebody else."""
        a = connection()
        b = connection(said(a)[0], seq_nr=700)
        (answer,) = said(b)
        guess = (answer.seq_nr - 1 + off) & 0xFFFF
        tell(b, [forged(b, PacketType.DATA, 301, guess, b"hello")])
        assert b.state is State.SYN_RECEIVED
        assert said(b) == []
        tell(b, [forged(b, PacketType.DATA, 301, (answer.seq_nr - 1) & 0xFFFF, b"hello")])
        assert b.state is State.CONNECTED

    def test_a_handshake_inside_that_does_not_end_is_given_up(self) -> None:
        a, b = connected()
        b.proved = False
        now = START
        while b.state is State.CONNECTED and now < START + 200:
            now += 5
            write(a, b"still shaking hands")
            tell(b, said(a, now), now)
            b.handle_deadline(now)
            tell(a, said(b, now), now)
        assert isinstance(b.error, ConnectionLost)
        assert now <= START + 2 * HANDSHAKE_TIMEOUT


class TestDelayedAck:
    def test_a_small_message_is_acknowledged_by_the_answer(self) -> None:
        a, b = connected()
        write(a, b"question")
        tell(b, said(a))
        assert said(b) == []
        write(b, b"answer")
        (answer,) = said(b)
        assert answer.type == PacketType.DATA
        tell(a, [answer])
        assert not a.outbound.outstanding

    def test_without_an_answer_it_is_acknowledged_soon(self) -> None:
        a, b = connected()
        write(a, b"a notification")
        tell(b, said(a))
        assert said(b) == []
        assert b.next_deadline() == START + DELAYED_ACK
        b.handle_deadline(START + DELAYED_ACK)
        (ack,) = said(b, START + DELAYED_ACK)
        assert ack.type == PacketType.STATE
        assert b.next_deadline() != START + DELAYED_ACK

    def test_a_second_message_a_repeated_one_and_a_gap_are_not_kept_waiting(self) -> None:
        a, b = connected()
        write(a, b"one")
        first = said(a)
        tell(b, first)
        assert said(b) == []
        tell(b, first)
        assert [packet.type for packet in said(b)] == [PacketType.STATE]
        write(a, b"two")
        tell(b, said(a))
        write(a, b"three")
        tell(b, said(a))
        assert [packet.type for packet in said(b)] == [PacketType.STATE]
        write(a, b"lost")
        said(a)
        write(a, b"late")
        tell(b, said(a))
        (ack,) = said(b)
        assert ack.sack == 1


class TestForgeries:
    @pytest.mark.parametrize("ahead", [1, 2, 1000, 32_000])
    def test_what_acknowledges_the_unsent_is_dropped_whole(self, ahead: int) -> None:
        a, _ = connected()
        write(a, b"x")
        said(a)
        ack = (a.outbound.board.next_seq - 1 + ahead) & 0xFFFF
        next_seq, window = a.inbound.next_seq, a.outbound.peer_window
        evil = forged(a, PacketType.DATA, next_seq, ack, b"evil")._replace(window=5)
        tell(a, [evil])
        a.receive_batch(memoryview(raw(a, next_seq, ack) * 2), 24, START)
        assert a.inbound.unread == 0
        assert a.outbound.peer_window == window
        assert a.outbound.board.in_flight > 0

    def test_an_old_acknowledgement_brings_data_but_no_window(self) -> None:
        a, b = connected()
        for _ in range(5):
            write(a, b"x")
            converse(a, b)
        old = forged(a, PacketType.DATA, a.inbound.next_seq, a.outbound.board.una - 4, b"data")
        tell(a, [old._replace(window=1)])
        assert read(a) == b"data"
        assert a.outbound.peer_window != 1

    def test_a_closed_connection_takes_nothing(self) -> None:
        a, b = connected()
        write(b, b"late")
        late = said(b)
        a.reset(START)
        said(a)
        tell(a, late)
        assert a.inbound.unread == 0
        silent_after_the_end(a)


def raw(of: UtpConnection, seq: int, ack: int) -> bytes:
    return encode(PacketType.DATA, of.receive_id, 0, 0, 0, seq, ack) + b"evil"


class TestTimers:
    def test_a_quiet_connection_says_something_now_and_then(self) -> None:
        a, b = connected()
        now = START
        for _ in range(20):
            now = min(filter(None, (a.next_deadline(), b.next_deadline())))
            a.handle_deadline(now)
            b.handle_deadline(now)
            converse(a, b, now)
        assert now >= START + 10 * KEEPALIVE_INTERVAL
        assert (a.state, b.state) == (State.CONNECTED, State.CONNECTED)

    def test_silence_ends_it(self) -> None:
        a, _ = connected()
        now = START
        while (deadline := a.next_deadline()) is not None:
            now = deadline
            a.handle_deadline(now)
            said(a, now)
        assert now == START + IDLE_TIMEOUT
        assert isinstance(a.error, ConnectionLost)
        assert "100" in a.error.reason

    @pytest.mark.parametrize("start", [1001.3, 65_513.7, 4_194_279.1])
    def test_what_is_due_at_its_deadline_is_done_then(self, start: float) -> None:
        """Floats are coarser above a power of two: a deadline must not be early for itself."""
        for n in range(40):
            at = start + n * 0.0137
            a = connection(now=at)
            b = connection(said(a, at)[0], now=at)
            tell(a, said(b, at), at)
            for _ in range(20):
                deadline = a.next_deadline()
                if deadline is None:
                    break
                a.handle_deadline(deadline)
                said(a, deadline)
                later = a.next_deadline()
                assert later is None or later > deadline
            assert a.state is State.CLOSED

    def test_a_new_path_gets_time_to_be_heard_of(self) -> None:
        a, b = connected()
        write(a, bytes(2000))
        said(a)
        for _ in range(3):
            now = a.next_deadline()
            assert now is not None
            a.handle_deadline(now)
            said(a, now)
        assert a.outbound.rtt.backoff > 0
        a.path_changed(0.05, now)
        assert (a.outbound.rtt.backoff, a.outbound.rtt.smoothed) == (0, 0.05)
        later = a.next_deadline()
        assert later is not None
        assert later - now < 1
        a.handle_deadline(later)
        tell(b, said(a, later), later + 0.03)
        tell(a, said(b, later + 0.03), later + 0.06)
        converse(a, b, later + 0.06)
        assert b.inbound.unread == 2000
