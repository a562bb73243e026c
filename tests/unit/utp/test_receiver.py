"""The receiving half: exact order, promises kept to the byte, and bounded memory."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.transport.utp.packet import PacketType, decode, encode, encode_batch
from keynet.transport.utp.receiver import ACTIVE_BYTES, ACTIVE_INTERVAL, SLACK, Receiver
from keynet.udp.budget import ReceiveBudget

NOW = 1000.0
SHARE = ReceiveBudget.MINIMUM
STEPS = st.sampled_from(["send", "deliver", "skip one", "read", "acknowledge"])


def receiver(first: int = 1, total: int = SHARE) -> Receiver:
    return Receiver(first, ReceiveBudget(total))


def give(to: Receiver, seq: int, payload: bytes = b"", *, fin: bool = False) -> None:
    kind = PacketType.FIN if fin else PacketType.DATA
    packet = decode(encode(kind, 9, 0, 0, 0, seq, 0) + payload)
    assert packet is not None
    to.receive(packet, fin=fin, now=NOW)


def give_batch(to: Receiver, seq: int, payload: bytes, size: int, now: float = NOW) -> None:
    image = encode_batch(encode(PacketType.DATA, 9, 0, 0, 0, seq, 0), payload, size)
    to.receive_batch(memoryview(image), min(size + 20, len(image)), now)


def taken(to: Receiver) -> bytes:
    data = b""
    while (piece := to.take()) is not None:
        data += piece
    return data


class TestOrder:
    def test_a_batch_in_order_is_one_piece(self) -> None:
        to = receiver()
        give_batch(to, 1, bytes(1000), 100)
        assert to.take() == bytes(1000)
        assert to.take() is None
        assert to.ack_nr == 10

    @pytest.mark.parametrize("first", [1, 65_533, 131_070])
    def test_batches_in_any_order_and_twice(self, first: int) -> None:
        to = receiver(first)
        data = random.Random(1).randbytes(3000)
        parts = [(0, data[:500]), (5, data[500:1700]), (17, data[1700:])]
        for at in (2, 1, 2, 0, 1):
            offset, payload = parts[at]
            give_batch(to, first + offset, payload, 100)
        assert taken(to) == data
        assert to.next_seq == first + 30
        assert (to.sack, to.unread) == (0, 0)
        assert to.dropped > 0

    def test_a_batch_with_gaps_inside(self) -> None:
        to = receiver()
        whole = encode_batch(encode(PacketType.DATA, 9, 0, 0, 0, 1, 0), b"abcdefgh", 1)
        pieces = [whole[at : at + 21] for at in range(0, len(whole), 21)]
        shuffled = b"".join(pieces[i] for i in (0, 1, 4, 5, 7, 2, 6, 3))
        to.receive_batch(memoryview(shuffled), 21, NOW)
        assert taken(to) == b"abcdefgh"

    def test_an_empty_packet_that_came_early_is_not_waited_for(self) -> None:
        to = receiver()
        give(to, 2, b"")
        give(to, 1, b"x")
        assert to.next_seq == 3
        give(to, 3, b"y")
        assert taken(to) == b"xy"

    def test_the_end_comes_after_all_before_it(self) -> None:
        to = receiver()
        give(to, 3, fin=True)
        give(to, 2, b"b")
        assert not to.eof
        give(to, 1, b"a")
        assert to.eof
        assert (to.ack_nr, taken(to)) == (3, b"ab")
        give(to, 4, b"after")
        give(to, 7, fin=True)
        assert (to.ack_nr, to.unread, to.sack) == (3, 0, 0)

    def test_the_end_may_be_reached_by_a_batch(self) -> None:
        to = receiver()
        give(to, 4, fin=True)
        give_batch(to, 1, bytes(300), 100)
        assert to.eof
        assert to.ack_nr == 4

    @pytest.mark.parametrize("early", [3, 5, 9])
    def test_what_lies_beyond_the_end_is_forgotten(self, early: int) -> None:
        """One of the two is forged; if it is the end, the secure channel will miss its own."""
        to = receiver()
        give(to, early, b"beyond")
        give(to, 2, fin=True)
        give(to, 1, b"a")
        assert taken(to) == b"a"
        assert to.eof
        assert (to.ack_nr, to.sack) == (2, 0)

    def test_a_forged_end_does_not_keep_the_true_one_out(self) -> None:
        to = receiver()
        give(to, 900, fin=True)
        give(to, 2, fin=True)
        give(to, 1, b"a")
        assert to.eof
        assert (taken(to), to.ack_nr) == (b"a", 2)

    def test_a_fin_far_away_changes_nothing(self) -> None:
        to = receiver()
        give(to, 30_000, fin=True)
        for seq in range(1, 100):
            give(to, seq, b"x")
        assert taken(to) == b"x" * 99
        assert not to.eof


class TestWindow:
    def test_it_is_the_share_less_what_waits(self) -> None:
        to = receiver()
        assert to.advertise() == SHARE
        give(to, 1, bytes(1000))
        give(to, 3, bytes(500))
        assert to.advertise() == SHARE - 1500
        to.take()
        assert to.advertise() == SHARE - 500

    def test_a_closed_window_is_told_again_once_there_is_room(self) -> None:
        to = receiver()
        give_batch(to, 1, bytes(SHARE), 1024)
        assert to.advertise() == 0
        assert not to.update_is_due
        while to.unread > SHARE // 2:
            to.take()
        assert to.update_is_due
        to.advertise()
        assert not to.update_is_due

    def test_a_sender_that_ignores_the_window_is_bounded(self) -> None:
        to = receiver()
        to.advertise()
        for n in range(400):
            give_batch(to, 1 + n * 10, bytes(10_000), 1000)
        assert to.unread <= SHARE + SLACK
        for n in range(400):
            give(to, 2000 + n, bytes(1000))
        assert to.unread + to._order.early_bytes <= SHARE + SLACK
        assert to.dropped > 0

    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_tiny_packets_cost_no_more_memory_than_their_bytes(self, size: int) -> None:
        to = receiver()
        to.advertise()
        for seq in range(1, 60_000):
            give(to, seq, bytes(size))
        held = sum(sys.getsizeof(piece) + 8 for piece in to._queue)
        assert held <= 4 * to.unread + 10_000

    def test_what_came_early_is_part_of_the_promise(self) -> None:
        """The reader catches up while a packet is missing: the window opens beyond the early."""
        to, size = receiver(total=1 << 20), 9000
        to.advertise()
        give_batch(to, 1, bytes(100 * size), size)
        sendable = to.advertise() // size
        for seq in range(102, 101 + sendable):
            give(to, seq, bytes(size))
        while to.take() is not None:
            pass
        window = to.advertise()
        assert window == (1 << 20) - (sendable - 1) * size
        for seq in range(101 + sendable, 100 + sendable + window // size):
            give(to, seq, bytes(size))
        assert to.dropped == 0

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(STEPS, st.integers(1, 60)), max_size=60))
    def test_who_keeps_to_the_window_loses_nothing(self, steps: list[tuple[str, int]]) -> None:
        """A sender that has less outstanding than the last window it heard is never refused.

        What was acknowledged selectively is not outstanding: the window speaks of what is beyond.
        """
        to, size = receiver(total=1 << 20), 9000
        window, next_seq = to.advertise(), 1
        outstanding: dict[int, bool] = {}
        for kind, count in steps:
            if kind == "send":
                for _ in range(min(count, (window - len(outstanding) * size) // size)):
                    outstanding[next_seq] = False
                    next_seq += 1
            elif kind in ("deliver", "skip one"):
                late = [seq for seq, arrived in outstanding.items() if not arrived]
                for seq in late[kind == "skip one" :][:count]:
                    give(to, seq, bytes(size))
                    outstanding[seq] = True
            elif kind == "read":
                for _ in range(count):
                    to.take()
            else:
                window = to.advertise()
                outstanding = {s: a for s, a in outstanding.items() if not acknowledged(to, s)}
            assert to.dropped == 0


def acknowledged(to: Receiver, seq: int) -> bool:
    ahead = seq - to.ack_nr - 2
    return seq <= to.ack_nr or (ahead >= 0 and to.sack >> ahead & 1 == 1)


class TestBudget:
    def test_a_busy_stream_takes_a_share_and_gives_it_back(self) -> None:
        budget = ReceiveBudget(1 << 20)
        busy, other = Receiver(1, budget), Receiver(1, budget)
        give_batch(busy, 1, bytes(ACTIVE_BYTES + 1000), 1400)
        give_batch(other, 1, bytes(ACTIVE_BYTES + 1000), 1400)
        assert budget.share == 1 << 19
        assert busy.idle_deadline() == NOW + ACTIVE_INTERVAL
        busy.check_idle(NOW + ACTIVE_INTERVAL)
        assert budget.share == 1 << 20
        other.retire()
        other.retire()
        assert budget.share == 1 << 20

    def test_a_trickle_never_counts_as_busy(self) -> None:
        to = receiver(total=1 << 20)
        for n in range(100):
            give_batch(to, 1 + n, bytes(1000), 1400, NOW + 2 * n)
        assert not to.active

    @pytest.mark.parametrize("last", [1023.3, 65535.7, 4194303.1])
    def test_the_deadline_is_late_enough_for_its_own_check(self, last: float) -> None:
        """Floats are coarser above a power of two: the sum and the difference must agree."""
        to = receiver(total=1 << 20)
        for n in range(50):
            at = last + n * 0.0137
            give_batch(to, to.next_seq, bytes(ACTIVE_BYTES + 1000), 1400, at)
            assert to.active
            taken(to)
            to.advertise()
            to.check_idle(to.idle_deadline())
            assert not to.active
