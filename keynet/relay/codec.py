"""TURN messages (RFC 8656 section 18) over aioice's STUN codec. Pure: bytes in, values out.

What aioice's table of attributes lacks is added here; what its parser drops (attributes that occur
more than once, and unknown ones that must be understood) is read here. ChannelData is not STUN:
see `channel_data`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aioice import stun

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.stun import HEADER, is_stun

Method = stun.Method
Class = stun.Class

TRANSACTION_ID_BYTES = 12
UDP_TRANSPORT = 17 << 24
"""REQUESTED-TRANSPORT (RFC 8656 section 18.7)."""
FAMILY_IPV4, FAMILY_IPV6 = 1 << 24, 2 << 24
"""REQUESTED-ADDRESS-FAMILY (section 18.6)."""
MAX_DATA = 65507 - 48
"""Bytes that a Send or Data indication carries at most: more would be no UDP datagram."""
MAX_REASON = 128
"""Characters of a remote reason that are kept."""

_INTEGRITY = 0x0008
_PEER = 0x0012
_OPTIONAL = 0x8000
"""Attributes from here on may be ignored (RFC 8489 section 14)."""

# RFC 8489 section 18.3 and RFC 8656 section 18; aioice's table lacks them.
for _type, _name, _pack, _unpack in (
    (0x000A, "UNKNOWN-ATTRIBUTES", stun.pack_bytes, stun.unpack_bytes),
    (0x0017, "REQUESTED-ADDRESS-FAMILY", stun.pack_unsigned, stun.unpack_unsigned),
    (0x0018, "EVEN-PORT", stun.pack_bytes, stun.unpack_bytes),
    (0x0022, "RESERVATION-TOKEN", stun.pack_bytes, stun.unpack_bytes),
):
    stun.ATTRIBUTES_BY_NAME.setdefault(_name, (_type, _name, _pack, _unpack))
    stun.ATTRIBUTES_BY_TYPE.setdefault(_type, stun.ATTRIBUTES_BY_NAME[_name])


class ErrorCode(enum.IntEnum):
    """RFC 8489 section 14.8, RFC 8656 section 19."""

    TRY_ALTERNATE = 300
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    UNKNOWN_ATTRIBUTE = 420
    ALLOCATION_MISMATCH = 437
    STALE_NONCE = 438
    ADDRESS_FAMILY_NOT_SUPPORTED = 440
    WRONG_CREDENTIALS = 441
    UNSUPPORTED_TRANSPORT = 442
    PEER_FAMILY_MISMATCH = 443
    QUOTA_REACHED = 486
    SERVER_ERROR = 500
    INSUFFICIENT_CAPACITY = 508

    @property
    def reason(self) -> str:
        """What is written beside the number."""
        return self.name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Message:
    """A STUN message as it was read. Check it before you believe a word of it."""

    method: Method
    message_class: Class
    transaction_id: bytes
    attributes: Mapping[str, Any]
    """By name; the last of each that stands before MESSAGE-INTEGRITY."""
    peers: tuple[SocketAddress, ...]
    """Every XOR-PEER-ADDRESS."""
    unknown: tuple[int, ...]
    """Types of attributes that must be understood and are not."""
    size: int
    """Bytes of the datagram: what an answer to a stranger may repay."""
    _message: stun.Message = field(repr=False, compare=False)

    @property
    def is_signed(self) -> bool:
        """Whether it has a MESSAGE-INTEGRITY, right or wrong."""
        return "MESSAGE-INTEGRITY" in self.attributes

    def is_authentic(self, key: bytes) -> bool:
        """Whether whoever made it has `key`. Constant time."""
        return self._message.check_message_integrity(key)

    def address(self, name: str) -> SocketAddress | None:
        """An attribute that is an address."""
        value = self.attributes.get(name)
        return SocketAddress(*value) if value is not None else None

    @property
    def error(self) -> tuple[int, str]:
        """The code and the reason, bounded and printable; 0 when there is none."""
        code, reason = self.attributes.get("ERROR-CODE", (0, ""))
        return code, "".join(c if c.isprintable() else "?" for c in reason[:MAX_REASON])


def parse(datagram: Buffer) -> Message | None:
    """What a datagram says, if it is STUN; None for all else. Never raises."""
    if not is_stun(datagram):
        return None
    data = bytes(datagram)
    try:
        message = stun.parse_message(data)
        found = list(_attributes(data))
        peers = tuple(
            SocketAddress(*stun.unpack_xor_address(value, message.transaction_id))
            for number, value in found
            if number == _PEER
        )
    except (ValueError, struct.error):
        return None
    unknown = tuple(n for n, _ in found if n < _OPTIONAL and n not in stun.ATTRIBUTES_BY_TYPE)
    return Message(
        message.message_method,
        message.message_class,
        message.transaction_id,
        message.attributes,
        peers,
        unknown,
        len(data),
        message,
    )


def encode(
    method: Method,
    message_class: Class,
    transaction_id: bytes,
    attributes: Mapping[str, Any],
    key: bytes | None = None,
) -> bytes:
    """A message; with `key` it ends in MESSAGE-INTEGRITY and FINGERPRINT."""
    message = stun.Message(method, message_class, transaction_id, dict(attributes))
    if key is not None:
        message.add_message_integrity(key)
    return bytes(message)


def indications(
    method: Method, peer: SocketAddress, datagrams: Datagrams, random_bytes: Callable[[int], bytes]
) -> Datagrams:
    """A batch as Send or Data indications (RFC 8656 section 11), one for each datagram.

    Until a channel is bound, this is how data travels. Each datagram has at most MAX_DATA bytes.
    """
    parts = [
        encode(
            method,
            Class.INDICATION,
            random_bytes(TRANSACTION_ID_BYTES),
            {"XOR-PEER-ADDRESS": unzoned(peer), "DATA": bytes(one)},
        )
        for one in datagrams
    ]
    stride = len(parts[0]) if parts else 0
    return Datagrams(b"".join(parts), stride, may_fragment=datagrams.may_fragment)


def family_of(host: str) -> int:
    """The REQUESTED-ADDRESS-FAMILY of a numeric host."""
    return FAMILY_IPV6 if ":" in host else FAMILY_IPV4


def unzoned(address: SocketAddress) -> tuple[str, int]:
    """An address as attributes write it: without the zone, which means nothing elsewhere."""
    return address.host.partition("%")[0], address.port


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and values up to MESSAGE-INTEGRITY: nothing after it is protected."""
    at = HEADER
    while at <= len(data) - 4:
        number, length = struct.unpack_from("!HH", data, at)
        if number == _INTEGRITY:
            return
        yield number, data[at + 4 : at + 4 + length]
        at += 4 + length + stun.padding_length(length)
