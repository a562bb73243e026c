"""STUN is recognised by its structure alone."""

from __future__ import annotations

import binascii

import pytest

from keynet.stun import is_stun

BINDING = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(range(12))


def with_fingerprint(head: bytes, attributes: bytes = b"") -> bytes:
    length = len(attributes) + 8
    start = head[:2] + length.to_bytes(2) + head[4:20] + attributes
    checksum = (binascii.crc32(start) ^ 0x5354554E).to_bytes(4)
    return start + b"\x80\x28\x00\x04" + checksum


def test_messages_with_and_without_a_fingerprint():
    assert is_stun(BINDING)
    assert is_stun(with_fingerprint(BINDING))
    assert is_stun(memoryview(with_fingerprint(BINDING, b"\x80\x22\x00\x04abcd")))


@pytest.mark.parametrize(
    "other",
    [
        b"",
        BINDING[:-1],
        BINDING + b"\x00",
        BINDING + bytes(4),
        b"\x40" + BINDING[1:],
        BINDING[:4] + b"\x21\x12\xa4\x43" + BINDING[8:],
        BINDING[:2] + b"\x00\x04" + BINDING[4:],
        with_fingerprint(BINDING)[:-1] + b"!",
        with_fingerprint(b"\x01" + BINDING[1:])[:-4] + bytes(4),
    ],
)
def test_anything_else_is_not(other: bytes):
    assert not is_stun(other)


def test_the_published_test_vector():
    """RFC 5769 section 2.1."""
    request = bytes.fromhex(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e2074657374"
        "20636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576"
        "746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571"
        "a280280004e57a3bcf"
    )
    assert is_stun(request)
    assert not is_stun(request[:-1] + b"\xce")
