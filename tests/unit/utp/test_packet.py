"""The wire format, against bytes written by hand from BEP 29."""

from __future__ import annotations

import struct

import pytest

from keynet.transport.utp.packet import (
    HEADER_SIZE,
    SACK_REACH,
    Packet,
    PacketType,
    decode,
    encode,
    encode_batch,
    encode_probe,
    encode_probe_reply,
    is_data_batch,
    payload_of,
    runs,
    unwrap,
)


def head(kind: PacketType = PacketType.DATA, seq: int = 1, connection_id: int = 0x1234) -> bytes:
    return encode(kind, connection_id, 0x01020304, 0x05060708, 0x00100000, seq, 0xFFFE)


def decoded(datagram: bytes) -> Packet:
    packet = decode(datagram)
    assert packet is not None
    return packet


def test_the_header_is_the_one_of_bep_29() -> None:
    assert head(PacketType.STATE, seq=7).hex() == (
        "2100" + "1234" + "01020304" + "05060708" + "00100000" + "0007" + "fffe"
    )


def test_a_decoded_packet_says_what_was_encoded() -> None:
    packet = decoded(head(PacketType.FIN, seq=0xFFFF) + b"rest")
    assert packet[:8] == (1, 0x1234, 0x01020304, 0x05060708, 0x00100000, 0xFFFF, 0xFFFE, 0)
    assert bytes(packet.payload) == b"rest"


def test_a_selective_ack_is_little_endian_from_ack_nr_plus_two() -> None:
    datagram = encode(PacketType.STATE, 1, 0, 0, 0, 0, 0, sack=0b1000_0000_0000_0001)
    assert datagram[1] == 1
    assert datagram[HEADER_SIZE:].hex() == "00" + "04" + "01800000"
    assert decoded(datagram).sack == 0b1000_0000_0000_0001


def test_a_selective_ack_grows_by_four_bytes_and_is_cut_where_its_length_byte_ends() -> None:
    assert len(encode(PacketType.STATE, 1, 0, 0, 0, 0, 0, sack=1 << 32)) == HEADER_SIZE + 2 + 8
    longest = encode(PacketType.STATE, 1, 0, 0, 0, 0, 0, sack=1 << 5000 | 5)
    assert decoded(longest).sack == 5
    everything = decoded(encode(PacketType.STATE, 1, 0, 0, 0, 0, 0, sack=(1 << SACK_REACH) - 1))
    assert everything.sack.bit_count() == SACK_REACH


def test_unknown_extensions_are_skipped_as_transmission_and_libtorrent_send_them() -> None:
    plain = bytearray(head(PacketType.STATE))
    plain[1] = 2
    datagram = (
        bytes(plain) + b"\x03\x08" + bytes(8) + b"\x01\x04abcd" + b"\x00\x04\x02\0\0\0" + b"p"
    )
    packet = decoded(datagram)
    assert packet.sack == 2
    assert bytes(packet.payload) == b"p"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        bytes(HEADER_SIZE - 1),
        b"\x00" + bytes(19),  # version 0
        b"\x02" + bytes(19),  # version 2
        b"\x51" + bytes(19),  # a type beyond SYN
        b"\xf1" + bytes(19),
        b"\x01\x01" + bytes(18),  # announces an extension that is not there
        b"\x01\x01" + bytes(18) + b"\x00",
        b"\x01\x01" + bytes(18) + b"\x00\x04abc",  # shorter than it says
        b"\x01\x01" + bytes(18) + b"\x02\x00",  # announces one more
        b"\x01\x02" + bytes(18) + b"\x02\x00" * 600 + b"\x00\x00",  # a chain that has no end
    ],
)
def test_what_is_no_packet_is_none(datagram: bytes) -> None:
    assert decode(datagram) is None


def test_numbers_are_unwrapped_next_to_the_reference() -> None:
    assert unwrap(0, 65535) == 65536
    assert unwrap(65535, 65536) == 65535
    assert unwrap(5, 3 << 16) == (3 << 16) + 5
    assert unwrap(0x8000, 1 << 16) == (1 << 16) - 0x8000
    assert unwrap(0x7FFF, 1 << 16) == (1 << 16) + 0x7FFF


@pytest.mark.parametrize("first", [1, 250, 65530])
def test_a_batch_counts_its_packets_across_every_boundary(first: int) -> None:
    payload = bytes(range(256)) * 4
    image = encode_batch(head(seq=first), payload, 100)
    packets = [decoded(bytes(image[at : at + 120])) for at in range(0, len(image), 120)]
    assert [packet.seq_nr for packet in packets] == [(first + i) & 0xFFFF for i in range(11)]
    assert b"".join(bytes(packet.payload) for packet in packets) == payload
    view = memoryview(image)
    assert is_data_batch(view, 120)
    assert list(runs(view, 120)) == [(0, 11, first)]
    assert payload_of(view, 120, 0, 11) == payload
    assert payload_of(view, 120, 9, 2) == payload[900:]


def test_a_gap_in_a_batch_splits_it_into_runs() -> None:
    image = encode_batch(head(seq=65534), bytes(500), 100)
    third = 2 * 120
    view = memoryview(image[:third] + image[third + 120 :] + image[:120])
    assert list(runs(view, 120)) == [(0, 2, 65534), (2, 2, 1), (4, 1, 65534)]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (0, "another type or version"),
        (1, "an extension"),
        (2, "another connection id"),
        (3, "another connection id"),
    ],
)
def test_only_plain_data_of_one_connection_is_a_batch(spoil: int, what: str) -> None:
    image = encode_batch(head(), bytes(300), 100)
    image[2 * 120 + spoil] ^= 0x10
    assert not is_data_batch(memoryview(image), 120), what


def test_a_batch_has_payload_in_every_packet() -> None:
    assert not is_data_batch(memoryview(head() * 3), HEADER_SIZE)
    assert not is_data_batch(memoryview(encode_batch(head(), bytes(100), 100) + head()), 120)
    assert is_data_batch(memoryview(encode_batch(head(), bytes(101), 100)), 120)


def test_the_struct_takes_every_timestamp() -> None:
    datagram = encode(PacketType.DATA, 1, (1 << 40) + 5, 0, 0, 1 << 20, -1)
    assert struct.unpack(">I", datagram[4:8]) == (5,)
    assert decoded(datagram).ack_nr == 0xFFFF


class TestProbe:
    @pytest.mark.parametrize("size", [22, 23, 1472, 65_507])
    def test_is_padded_to_its_size_and_says_so(self, size: int) -> None:
        state = encode(PacketType.STATE, 3, 0, 0, 100, 5, 9)
        wire = encode_probe(state, size)
        assert len(wire) == size
        packet = decode(wire)
        assert packet is not None
        assert (packet.type, packet.probe, packet.ack_nr) == (PacketType.STATE, size, 9)

    def test_is_answered_with_the_size_that_arrived(self) -> None:
        state = encode(PacketType.STATE, 3, 0, 0, 100, 5, 9)
        packet = decode(encode_probe_reply(state, 1472))
        assert packet is not None
        assert (packet.probe, packet.probe_reply, len(packet.payload)) == (0, 1472, 0)
