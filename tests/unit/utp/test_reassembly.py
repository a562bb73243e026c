"""Order out of disorder, and nothing kept beyond the bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.transport.utp.packet import SACK_REACH
from keynet.transport.utp.reassembly import Reassembly

PLENTY = 1 << 30


def test_what_comes_early_waits_for_the_gap() -> None:
    order = Reassembly(10)
    assert order.keep(12, b"cc", PLENTY)
    assert order.keep(11, b"b", PLENTY)
    assert (order.sack, order.early_bytes) == (0b11, 3)
    order.advance(1)
    assert order.take_ready() == [b"b", b"cc"]
    assert (order.next_seq, order.sack, order.early_bytes) == (13, 0, 0)


def test_duplicates_old_packets_and_what_is_out_of_reach_are_refused() -> None:
    order = Reassembly(10)
    assert order.keep(11, b"b", PLENTY)
    assert not order.keep(11, b"other", PLENTY)
    assert not order.keep(10, b"a", PLENTY)
    assert not order.keep(9, b"old", PLENTY)
    assert not order.keep(10 + SACK_REACH + 1, b"far", PLENTY)
    assert order.keep(10 + SACK_REACH, b"edge", PLENTY)
    assert order.sack.bit_length() == SACK_REACH


def test_the_limit_counts_everything_that_is_held() -> None:
    order = Reassembly(0)
    assert order.keep(1, bytes(60), 100)
    assert not order.keep(2, bytes(41), 100)
    assert order.keep(3, bytes(40), 100)
    assert order.early_bytes == 100


def test_a_batch_that_overtakes_held_packets_replaces_them() -> None:
    order = Reassembly(5)
    for seq in (6, 7, 10, 11):
        order.keep(seq, bytes([seq]), PLENTY)
    order.advance(4)
    assert (order.early_bytes, order.sack) == (2, 0b11)
    assert order.take_ready() == []
    order.advance(1)
    assert order.take_ready() == [b"\x0a", b"\x0b"]
    assert (order.next_seq, order.early_bytes, order.sack) == (12, 0, 0)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(3, 70_000),
    steps=st.lists(st.tuples(st.integers(-3, 40), st.integers(0, 30)), max_size=80),
)
def test_it_agrees_with_a_set_of_arrived_numbers(start: int, steps: list[tuple[int, int]]) -> None:
    order = Reassembly(start)
    arrived: set[int] = set()
    delivered: list[int] = []
    expected = start

    def name(seq: int) -> bytes:
        return seq.to_bytes(4, "big")

    for ahead, count in steps:
        seq = order.next_seq + ahead
        if ahead == 0:
            # A run in order: the caller takes it, then asks what became ready.
            arrived |= set(range(seq, seq + count))
            delivered += range(seq, seq + count)
            order.advance(count)
            delivered += [int.from_bytes(data, "big") for data in order.take_ready()]
        elif order.keep(seq, name(seq), PLENTY):
            assert seq not in arrived
            arrived.add(seq)
        while expected in arrived:
            expected += 1
        if ahead == 0:
            assert order.next_seq == expected
        held = {seq for seq in arrived if seq > order.next_seq}
        assert order.early_bytes == 4 * len(held)
        assert {order.next_seq + 1 + i for i in range(50) if order.sack >> i & 1} == {
            seq for seq in held if seq <= order.next_seq + 50
        }
    assert delivered == sorted(set(delivered))
