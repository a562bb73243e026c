"""uTP packets on the wire (BEP 29): the header, the selective-ACK extension, whole batches.

Pure functions on bytes. No connection state, no policy. Sequence numbers are 16 bits here and
unbounded integers everywhere else (`unwrap`).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from keynet.engine import Buffer

HEADER_SIZE = 20
VERSION = 1
SACK_EXTENSION = 1
PROBE_EXTENSION = 112
"""Marks a STATE packet that is padded to probe the path. Not in BEP 29; sent to keynet only."""
PROBE_REPLY_EXTENSION = 113
"""The size in bytes of a probe that arrived: four bytes, most significant first."""
MAX_SACK_BYTES = 252
"""Bytes of a selective ACK: one length byte, a multiple of four (BEP 29)."""
SACK_REACH = 8 * MAX_SACK_BYTES
"""2,016: how many packets past the first gap an acknowledgement can speak of."""

_HEADER = struct.Struct(">BBHIIIHH")
MAX_EXTENSIONS = 8
"""More than anybody sends; a chain of empty ones in a large datagram would cost milliseconds."""
_SEQ_OFFSET = 16
# The low and high bytes of consecutive sequence numbers, to compare a batch's column with.
_COLUMN = 65536 + 4096
_LOW = bytes(range(256)) * (_COLUMN // 256)
_HIGH = b"".join(bytes([value & 255]) * 256 for value in range(_COLUMN // 256))


class PacketType(enum.IntEnum):
    DATA = 0
    FIN = 1
    STATE = 2
    RESET = 3
    SYN = 4


class Packet(NamedTuple):
    """One decoded packet."""

    type: int
    connection_id: int
    timestamp: int
    """The sender's clock in microseconds, modulo 2**32."""
    timestamp_diff: int
    """The sender's last delay measurement of what it receives, in microseconds."""
    window: int
    """Bytes that the sender will take beyond `ack_nr`."""
    seq_nr: int
    ack_nr: int
    sack: int
    """Bit i says that `ack_nr + 2 + i` has arrived; 0 without the extension."""
    payload: memoryview
    probe: int = 0
    """The packet's own size, when it probes whether the path takes that; else 0."""
    probe_reply: int = 0
    """The size of a probe that the sender has received; else 0."""


def unwrap(number: int, reference: int) -> int:
    """The integer next to `reference` whose low 16 bits are `number`."""
    return reference + ((number - reference + 0x8000) & 0xFFFF) - 0x8000


def decode(datagram: Buffer) -> Packet | None:
    """Read one datagram; None when it is no well-formed uTP packet. Never raises."""
    view = memoryview(datagram)
    if len(view) < HEADER_SIZE:
        return None
    kind, extension, connection_id, stamp, diff, window, seq_nr, ack_nr = _HEADER.unpack_from(view)
    if kind & 15 != VERSION or kind >> 4 > PacketType.SYN:
        return None
    sack, probe, probe_reply, offset, count = 0, 0, 0, HEADER_SIZE, 0
    while extension:
        count += 1
        if len(view) < offset + 2 or count > MAX_EXTENSIONS:
            return None
        following, size = view[offset], view[offset + 1]
        body = view[offset + 2 : offset + 2 + size]
        if len(body) != size:
            return None
        if extension == SACK_EXTENSION:
            sack = int.from_bytes(body, "little")
        elif extension == PROBE_EXTENSION:
            probe = len(view)
        elif extension == PROBE_REPLY_EXTENSION:
            probe_reply = int.from_bytes(body[:4])
        extension, offset = following, offset + 2 + size
    numbers = (connection_id, stamp, diff, window, seq_nr, ack_nr)
    return Packet(kind >> 4, *numbers, sack, view[offset:], probe, probe_reply)


def encode(
    kind: PacketType,
    connection_id: int,
    timestamp: int,
    timestamp_diff: int,
    window: int,
    seq_nr: int,
    ack_nr: int,
    sack: int = 0,
) -> bytes:
    """One packet without payload. `sack` is cut to what the extension holds."""
    head = _HEADER.pack(
        kind << 4 | VERSION,
        SACK_EXTENSION if sack else 0,
        connection_id,
        timestamp & 0xFFFFFFFF,
        timestamp_diff,
        window,
        seq_nr & 0xFFFF,
        ack_nr & 0xFFFF,
    )
    return head + _encode_sack(sack) if sack else head


def _encode_sack(sack: int) -> bytes:
    sack &= (1 << SACK_REACH) - 1
    size = max(4, -(-sack.bit_length() // 32) * 4)
    return bytes((0, size)) + sack.to_bytes(size, "little")


def encode_probe(state: bytes, size: int) -> bytes:
    """A STATE packet without extensions, marked and padded to `size` bytes (at least 22)."""
    return (state[:1] + bytes((PROBE_EXTENSION,)) + state[2:] + b"\0\0").ljust(size, b"\0")


def encode_probe_reply(state: bytes, size: int) -> bytes:
    """A STATE packet without extensions, saying that a probe of `size` bytes arrived."""
    return state[:1] + bytes((PROBE_REPLY_EXTENSION,)) + state[2:] + b"\0\4" + size.to_bytes(4)


def refusal(packet: Packet) -> bytes:
    """The RESET that answers a packet for an unknown connection, with the packet's own id."""
    return encode(PacketType.RESET, packet.connection_id, 0, 0, 0, 0, packet.seq_nr)


def encode_batch(head: bytes, payload: Buffer, size: int) -> bytearray:
    """DATA packets back to back: `head` before every `size` bytes of `payload`.

    `head` is an encoded header whose seq_nr is the first packet's; the others count up from it.
    """
    if len(payload) <= size:
        return bytearray(head) + payload
    view = memoryview(payload)
    image = bytearray(head)
    image += head.join([view[start : start + size] for start in range(0, len(view), size)])
    number_sequence(image, HEADER_SIZE + size)
    return image


def number_sequence(image: bytearray, stride: int) -> None:
    """Give every packet of a batch its seq_nr, counting up from the first one's."""
    first = image[_SEQ_OFFSET] << 8 | image[_SEQ_OFFSET + 1]
    count = -(-len(image) // stride)
    image[_SEQ_OFFSET::stride] = _HIGH[first : first + count]
    image[_SEQ_OFFSET + 1 :: stride] = _LOW[first : first + count]


def is_data_batch(view: memoryview, stride: int) -> bool:
    """Whether all are plain DATA packets (no extension) of one connection id, with payload."""
    if view[0] != VERSION or view[1] != 0 or stride <= HEADER_SIZE:
        return False
    tail = len(view) % stride
    if 0 < tail <= HEADER_SIZE:
        return False
    count = -(-len(view) // stride)
    return (
        view[0::stride].tobytes().count(view[0]) == count
        and view[1::stride].tobytes().count(0) == count
        and view[2::stride].tobytes().count(view[2]) == count
        and view[3::stride].tobytes().count(view[3]) == count
    )


def runs(view: memoryview, stride: int) -> Iterator[tuple[int, int, int]]:
    """Split a data batch into runs of consecutive seq_nr: (index, count, first seq_nr)."""
    high = view[_SEQ_OFFSET::stride].tobytes()
    low = view[_SEQ_OFFSET + 1 :: stride].tobytes()
    count, index = len(low), 0
    first = high[0] << 8 | low[0]
    if low == _LOW[first : first + count] and high == _HIGH[first : first + count]:
        yield 0, count, first
        return
    for at in range(1, count):
        if (high[at] << 8 | low[at]) != (first + at - index) & 0xFFFF:
            yield index, at - index, first
            index, first = at, high[at] << 8 | low[at]
    yield index, count - index, first


def payload_of(view: memoryview, stride: int, index: int, count: int) -> bytes:
    """The joined payloads of `count` packets of a data batch from `index` on."""
    view = view[index * stride : (index + count) * stride]
    starts = range(0, len(view), stride)
    return b"".join([view[start + HEADER_SIZE : start + stride] for start in starts])
