"""Recognising STUN (RFC 8489) among other protocols on one socket; reads no attributes."""

from __future__ import annotations

import binascii

from keynet.engine import Buffer

HEADER = 20
"""Bytes."""

MAGIC_COOKIE = b"\x21\x12\xa4\x42"
"""Bytes 4 to 7 of every message (section 5)."""

_FINGERPRINT = b"\x80\x28\x00\x04"
"""The attribute's type and length; always the last (section 14.7)."""
_FINGERPRINT_XOR = 0x5354554E


def is_stun(datagram: Buffer) -> bool:
    """Whether a datagram is a STUN message by its structure (RFC 8489 section 6.3).

    Two zero bits, the magic cookie, a length that is the datagram's, and, when a FINGERPRINT ends
    it, the right checksum. It says nothing about who sent it.
    """
    size = len(datagram)
    if size < HEADER or size % 4 or datagram[4] != 0x21 or datagram[0] > 0x3F:
        return False
    head = bytes(datagram[:HEADER])
    if head[4:8] != MAGIC_COOKIE or int.from_bytes(head[2:4]) != size - HEADER:
        return False
    if not has_fingerprint(datagram):
        return True
    checksum = binascii.crc32(datagram[:-8]) ^ _FINGERPRINT_XOR
    return int.from_bytes(bytes(datagram[-4:])) == checksum


def has_fingerprint(datagram: Buffer) -> bool:
    """Whether a STUN message ends in a FINGERPRINT, right or wrong; `is_stun` checks it."""
    return len(datagram) >= HEADER + 8 and bytes(datagram[-8:-4]) == _FINGERPRINT


def fingerprints(datagram: Buffer) -> int:
    """How many FINGERPRINTs a STUN message seems to hold: an honest one has one at most, and each
    costs who reads it a checksum of all that is before it."""
    return bytes(datagram[HEADER:]).count(_FINGERPRINT)
