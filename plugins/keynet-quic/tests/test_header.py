"""What is read of datagrams from strangers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from keynet_quic import header, transport

from keynet.testing.transport.handshakes import first_datagram

FIRST = first_datagram(transport())


@given(st.binary(max_size=1500))
def test_any_bytes_are_read_without_a_fault(data: bytes) -> None:
    header.initial(data)
    found = header.connection_id(memoryview(data))
    assert found is None or found in data


@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_heads_are_read_without_a_fault(patch: bytes, at: int) -> None:
    damaged = bytearray(FIRST)
    damaged[at : at + len(patch)] = patch
    header.initial(damaged)
    header.connection_id(damaged)


def test_a_first_datagram_and_the_ids_in_it() -> None:
    found = header.initial(FIRST)
    assert found is not None
    assert header.connection_id(FIRST) == found.destination_cid
    assert FIRST[0] in header.FIRST_BYTES
    assert header.connection_id(b"\x40" + b"12345678" + b"rest") == b"12345678"


def test_what_begins_nothing() -> None:
    short_id = bytearray(FIRST)
    short_id[5] = 7
    handshake = bytes([FIRST[0] | 0x20]) + FIRST[1:]
    for other in (FIRST[:1199], b"\x40" + FIRST[1:], bytes(1200), bytes(short_id), handshake):
        assert header.initial(other) is None
    unknown_version = FIRST[:1] + b"\x0a\x0a\x0a\x0a" + FIRST[5:]
    assert header.initial(unknown_version) is None
