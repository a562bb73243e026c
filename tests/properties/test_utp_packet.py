"""uTP's codec for any numbers and any bytes."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from keynet.transport.utp.packet import (
    HEADER_SIZE,
    SACK_REACH,
    PacketType,
    decode,
    encode,
    encode_batch,
    is_data_batch,
    payload_of,
    runs,
    unwrap,
)

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
KINDS = st.sampled_from(PacketType)


@given(KINDS, U16, U32, U32, U32, U16, U16, st.integers(0, (1 << SACK_REACH) - 1), st.binary())
def test_what_was_encoded_is_decoded(
    kind: PacketType,
    connection_id: int,
    stamp: int,
    diff: int,
    window: int,
    seq: int,
    ack: int,
    sack: int,
    payload: bytes,
) -> None:
    datagram = encode(kind, connection_id, stamp, diff, window, seq, ack, sack) + payload
    packet = decode(datagram)
    assert packet is not None
    assert packet[:8] == (kind, connection_id, stamp, diff, window, seq, ack, sack)
    assert bytes(packet.payload) == payload
    assert decode(bytearray(datagram)) == packet


@given(st.binary(max_size=2000))
@example(b"\x01" + bytes(19))
@example(b"\x21\x01" + bytes(18) + b"\x00\x00")
def test_no_bytes_make_it_raise(datagram: bytes) -> None:
    packet = decode(datagram)
    if packet is not None:
        assert packet.type in list(PacketType)
        assert packet.sack >= 0
        assert len(packet.payload) <= len(datagram) - HEADER_SIZE


@given(st.binary(max_size=60), st.integers(0, 255))
def test_no_chain_of_extensions_makes_it_raise(rest: bytes, first: int) -> None:
    header = bytearray(encode(PacketType.STATE, 1, 2, 3, 4, 5, 6))
    header[1] = first
    packet = decode(bytes(header) + rest)
    if packet is not None:
        assert bytes(header + rest).endswith(bytes(packet.payload))


@given(st.integers(0, 1 << 40), st.integers(-0x8000, 0x7FFF))
def test_a_number_near_the_reference_is_found_again(reference: int, distance: int) -> None:
    number = reference + distance
    assert unwrap(number & 0xFFFF, reference) == number


@given(U16, st.binary(min_size=1, max_size=4000), st.integers(1, 1500))
def test_a_batch_holds_the_payload_in_consecutive_packets(
    first: int, payload: bytes, size: int
) -> None:
    image = encode_batch(encode(PacketType.DATA, 9, 0, 0, 0, first, 0), payload, size)
    stride = min(len(image), HEADER_SIZE + size)
    count = -(-len(payload) // size)
    view = memoryview(image)
    assert is_data_batch(view, stride)
    assert list(runs(view, stride)) == [(0, count, first)]
    assert payload_of(view, stride, 0, count) == payload
    for index in range(count):
        packet = decode(view[index * stride : (index + 1) * stride])
        assert packet is not None
        assert packet.seq_nr == (first + index) & 0xFFFF
        assert payload_of(view, stride, index, 1) == bytes(packet.payload)


@given(st.lists(U16, min_size=1, max_size=80))
def test_runs_cover_any_order_of_numbers_once(numbers: list[int]) -> None:
    image = b"".join(encode(PacketType.DATA, 9, 0, 0, 0, seq, 0) + b"x" for seq in numbers)
    found = []
    for index, count, first in runs(memoryview(image), 21):
        assert index == len(found)
        found += [(first + i) & 0xFFFF for i in range(count)]
    assert found == numbers


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 1500))
def test_any_bytes_may_be_asked_whether_they_are_a_batch(data: bytes, stride: int) -> None:
    view = memoryview(data)
    if is_data_batch(view, stride):
        packets = [decode(view[at : at + stride]) for at in range(0, len(view), stride)]
        assert all(packet is not None and packet.type == PacketType.DATA for packet in packets)
        assert all(packet is not None and len(packet.payload) > 0 for packet in packets)
        total = sum(count for _, count, _ in runs(view, stride))
        assert total == len(packets)
