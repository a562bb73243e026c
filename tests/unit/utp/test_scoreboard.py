"""The scoreboard against a model that keeps every packet by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.transport.utp.scoreboard import Batch, Flight, Scoreboard

STRIDE = 100
HEADER = 20


def batch(board: Scoreboard, count: int, tail: int = STRIDE) -> Batch:
    image = bytearray(STRIDE * (count - 1) + tail)
    made = Batch(board.next_seq, image, min(STRIDE, len(image)))
    board.add(made)
    return made


def send(board: Scoreboard, count: int, now: float, tail: int = STRIDE) -> Flight:
    made = batch(board, count, tail)
    return board.sent(made, made.full, now)


def bits(*positions: int) -> int:
    return sum(1 << position for position in positions)


class TestAcknowledgements:
    def test_una_moves_and_bytes_leave_the_flight(self) -> None:
        board = Scoreboard(1)
        send(board, 4, 1.0, tail=50)
        assert board.in_flight == 350
        news = board.acknowledge(2, 0, 1.1)
        assert (board.una, board.in_flight, news.acked) == (3, 150, 200)
        news = board.acknowledge(4, 0, 1.2)
        assert (board.una, board.in_flight, news.acked) == (5, 0, 150)

    def test_a_selective_ack_counts_once(self) -> None:
        board = Scoreboard(1)
        send(board, 8, 1.0)
        assert board.acknowledge(0, bits(0, 3), 1.1).acked == 200  # 2 and 5
        assert board.acknowledge(0, bits(0, 3), 1.2).acked == 0
        assert board.acknowledge(5, 0, 1.3).acked == 300
        assert (board.una, board.in_flight) == (6, 300)

    def test_what_was_never_sent_cannot_be_acknowledged(self) -> None:
        board = Scoreboard(1)
        send(board, 2, 1.0)
        news = board.acknowledge(0, (1 << 2016) - 1, 1.1)
        assert news.acked == 100
        assert (board.una, board.in_flight) == (1, 100)

    def test_one_ack_may_span_many_batches(self) -> None:
        board = Scoreboard(65_530)
        for n in range(200):
            send(board, 3, 1.0 + n / 1000)
        news = board.acknowledge(65_530 + 599, 0, 2.0)
        assert news.acked == 600 * STRIDE
        assert news.newest is not None
        assert news.newest.sent_at == pytest.approx(1.199)
        assert board.oldest_stride == 0

    def test_the_newest_flight_is_the_last_sent_not_the_highest_number(self) -> None:
        board = Scoreboard(1)
        first = send(board, 1, 1.0)
        send(board, 1, 2.0)
        board.acknowledge(0, bits(0), 2.5)
        assert board.detect_losses(9.0, 0.1) == [(first, 1)]
        taken = board.take_lost(10)
        assert taken is not None
        again = board.sent(*taken, 9.0, resent=True)
        assert board.acknowledge(2, 0, 9.5).newest is again

    def test_acknowledged_batches_are_let_go(self) -> None:
        board = Scoreboard(1)
        for n in range(1000):
            made = send(board, 2, float(n)).batch
            board.acknowledge(board.next_seq - 1, 0, n + 0.5)
            board.detect_losses(n + 0.5, 0.1)
            assert len(made.image) == 0
        assert len(board._batches) <= 130
        assert len(board._flights) <= 2


class TestLoss:
    def test_what_was_sent_before_something_that_arrived_is_lost_in_time(self) -> None:
        board = Scoreboard(1)
        send(board, 2, 1.0)
        send(board, 2, 1.2)
        board.acknowledge(0, bits(1, 2), 1.3)  # 3 and 4, one round trip of 0.1
        assert board.detect_losses(1.3, 0.3) == []
        assert board.loss_at == pytest.approx(1.4)
        losses = board.detect_losses(1.41, 0.3)
        assert [mask for _, mask in losses] == [0b11]
        assert (board.in_flight, board.waiting, board.lost_total) == (0, 200, 200)

    def test_nothing_is_lost_by_what_was_sent_before_it(self) -> None:
        board = Scoreboard(1)
        send(board, 1, 1.0)
        send(board, 3, 1.1)
        board.acknowledge(1, 0, 1.2)
        assert board.detect_losses(100.0, 0.1) == []
        assert board.loss_at is None

    def test_within_a_batch_only_what_is_below_the_arrived_is_lost(self) -> None:
        board = Scoreboard(1)
        send(board, 6, 1.0)
        board.acknowledge(0, bits(2), 1.1)  # 4 arrived
        [(_, mask)] = board.detect_losses(2.0, 0.1)
        assert mask == 0b111
        assert (board.in_flight, board.waiting) == (200, 300)

    def test_lost_packets_are_taken_oldest_first_and_in_portions(self) -> None:
        board = Scoreboard(1)
        for n in range(3):
            send(board, 2, 1.0 + n / 10)
        board.lose_all()
        taken = [board.take_lost(1) for _ in range(3)]
        assert [(t[0].first, t[1]) for t in taken if t] == [(1, 1), (1, 2), (3, 1)]
        assert board.waiting == 300

    def test_a_late_arrival_is_spurious_and_is_not_sent_again(self) -> None:
        board = Scoreboard(1)
        send(board, 2, 1.0)
        board.lose_all()
        news = board.acknowledge(1, 0, 1.5)
        assert news.spurious
        assert (board.waiting, news.acked) == (100, 100)
        taken = board.take_lost(10)
        assert taken is not None
        assert taken[1] == 0b10
        assert board.take_lost(10) is None

    def test_the_tail_is_taken_from_its_old_flight(self) -> None:
        board = Scoreboard(1)
        send(board, 3, 1.0, tail=40)
        board.acknowledge(1, 0, 1.1)
        taken = board.take_last()
        assert taken is not None
        assert taken[1] == 0b100
        assert board.in_flight == 100
        board.sent(*taken, 2.0, resent=True)
        assert board.in_flight == 140
        board.acknowledge(3, 0, 2.1)
        assert board.in_flight == 0
        assert board.take_last() is None


@dataclass
class Model:
    """One entry for each packet: which sending of it is unanswered, whether it is acked or lost."""

    una: int
    next_seq: int
    size: dict[int, int] = field(default_factory=dict)
    acked: set[int] = field(default_factory=set)
    flying: dict[int, tuple[int, float, int]] = field(default_factory=dict)
    """seq -> (order, sent_at, position in its batch)"""
    lost: set[int] = field(default_factory=set)
    order: int = 0
    rack: tuple[int, int, float] = (-1, 0, 0.0)
    """The newest sending that arrived: order, position + 1, round trip."""

    def send(self, seqs: list[int], positions: list[int], now: float) -> None:
        self.order += 1
        for seq, position in zip(seqs, positions, strict=True):
            self.flying[seq] = (self.order, now, position)
            self.lost.discard(seq)

    def acknowledge(self, ack: int, sack: int, now: float) -> int:
        told = {*range(self.una, ack + 1)}
        told |= {ack + 2 + i for i in range(sack.bit_length()) if sack >> i & 1}
        told = {seq for seq in told if seq < self.next_seq} - self.acked
        best = max((self.flying[s][0] for s in told if s in self.flying), default=-1)
        if best >= self.rack[0]:
            high = (
                max(
                    self.flying[s][2]
                    for s in told
                    if s in self.flying and self.flying[s][0] == best
                )
                + 1
                if best >= 0
                else 0
            )
            if best > self.rack[0]:
                sent_at = next(
                    self.flying[s][1]
                    for s in told
                    if s in self.flying and self.flying[s][0] == best
                )
                self.rack = (best, high, now - sent_at)
            elif best >= 0:
                self.rack = (best, max(high, self.rack[1]), self.rack[2])
        for seq in told:
            self.acked.add(seq)
            self.flying.pop(seq, None)
            self.lost.discard(seq)
        self.una = max(self.una, ack + 1)
        return sum(self.size[seq] for seq in told)

    def detect(self, now: float, reordering: float) -> set[int]:
        order, high, rtt = self.rack
        found = set()
        for seq, (mine, sent_at, position) in self.flying.items():
            before = mine < order or (mine == order and position < high)
            if before and sent_at + rtt + reordering <= now:
                found.add(seq)
        self.lose(found)
        return found

    def lose(self, seqs: set[int]) -> None:
        for seq in seqs:
            del self.flying[seq]
        self.lost |= seqs


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 12), st.integers(HEADER + 1, STRIDE)),
    st.tuples(st.just("ack"), st.integers(0, 14), st.integers(0, (1 << 30) - 1)),
    st.tuples(st.just("wait"), st.floats(0.001, 0.5), st.just(0)),
    st.tuples(st.just("detect"), st.floats(0.001, 0.3), st.just(0)),
    st.tuples(st.just("resend"), st.integers(1, 9), st.just(0)),
    st.tuples(st.just("tail"), st.just(0), st.just(0)),
    st.tuples(st.just("timeout"), st.just(0), st.just(0)),
)


class Both:
    """The scoreboard and the model, given the same."""

    def __init__(self, first: int) -> None:
        self.board = Scoreboard(first)
        self.model = Model(first, first)
        self.now = 1000.0

    def step(self, kind: str, one: float, two: int) -> None:
        getattr(self, kind)(one, two)
        self.compare()

    def send(self, count: int, tail: int) -> None:
        if self.board.next_seq - self.board.una > 60:
            return
        first = self.board.next_seq
        send(self.board, count, self.now, tail)
        seqs = [*range(first, first + count)]
        self.model.next_seq = first + count
        self.model.size |= dict.fromkeys(seqs[:-1], STRIDE) | {seqs[-1]: tail}
        self.model.send(seqs, [*range(count)], self.now)

    def ack(self, advance: int, sack: int) -> None:
        ack = min(self.board.una - 1 + advance, self.board.next_seq - 1)
        while ack + 1 in self.model.acked:  # an honest peer's cumulative number
            ack += 1
        news = self.board.acknowledge(ack, sack, self.now)
        assert news.acked == self.model.acknowledge(ack, sack, self.now)

    def wait(self, seconds: float, _: int) -> None:
        self.now += seconds

    def detect(self, reordering: float, _: int) -> None:
        losses = self.board.detect_losses(self.now, reordering)
        found = {seq for flight, mask in losses for seq in seqs_of(flight.batch, mask)}
        assert found == self.model.detect(self.now, reordering)

    def resend(self, limit: int, _: int) -> None:
        waiting = self.model.lost
        taken = self.board.take_lost(limit)
        assert (taken is None) == (not waiting)
        if taken is not None:
            seqs = seqs_of(*taken)
            assert len(seqs) <= limit
            assert set(seqs) <= waiting
            self.record(taken)

    def tail(self, *_: float) -> None:
        taken = self.board.take_last()
        assert (taken is None) == (not self.model.flying)
        if taken is not None:
            assert seqs_of(*taken) == [max(self.model.flying)]
            self.record(taken)

    def record(self, taken: tuple[Batch, int]) -> None:
        self.board.sent(*taken, self.now, resent=True)
        seqs = seqs_of(*taken)
        self.model.send(seqs, [seq - taken[0].first for seq in seqs], self.now)

    def timeout(self, *_: float) -> None:
        losses = self.board.lose_all()
        found = {seq for flight, mask in losses for seq in seqs_of(flight.batch, mask)}
        assert found == set(self.model.flying)
        self.model.lose(found)

    def compare(self) -> None:
        board, model = self.board, self.model
        assert board.una == model.una
        assert board.next_seq == model.next_seq
        assert board.in_flight == sum(model.size[seq] for seq in model.flying)
        assert board.waiting == sum(model.size[seq] for seq in model.lost)
        assert board.delivered == sum(model.size[seq] for seq in model.acked)
        lost = {seq for b in board._batches[board._head :] for seq in seqs_of(b, b.lost)}
        assert lost == model.lost
        flights = [f for b in board._batches[board._head :] for f in b.flights]
        assert sorted(seq for f in flights for seq in seqs_of(f.batch, f.mask)) == sorted(
            model.flying
        )


def seqs_of(batch: Batch, mask: int) -> list[int]:
    return [batch.first + i for i in range(batch.count) if mask >> i & 1]


@settings(max_examples=150, deadline=None)
@given(first=st.sampled_from([1, 65_520, 200_000]), steps=st.lists(STEPS, max_size=60))
def test_it_agrees_with_the_model(first: int, steps: list[tuple[str, float, int]]) -> None:
    both = Both(first)
    for step in steps:
        both.step(*step)
    both.ack(10_000, 0)
    both.compare()
    assert (both.board.in_flight, both.board.waiting, both.board.oldest_stride) == (0, 0, 0)
