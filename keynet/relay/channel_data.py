"""ChannelData (RFC 8656 section 12.4) on whole batches. Pure.

Four bytes stand before each datagram: the channel and the length. A batch to one peer stays one
batch: its stride grows by four on the way to the server and shrinks again on the way out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from keynet.engine import Buffer, Datagrams
from keynet.udp.split import split

HEADER = struct.Struct("!HH")
OVERHEAD = HEADER.size
"""Bytes that each datagram grows by."""
FIRST_CHANNEL, LAST_CHANNEL = 0x4000, 0x4FFF
"""What a client may choose (section 12)."""
MAX_PAYLOAD = 65507 - OVERHEAD
"""Bytes of a datagram that still fits into one with a header."""

_LAST_OLD_CHANNEL = 0x7FFF
"""RFC 5766's clients, coturn's among them, choose up to here."""
_NO_STUN = 0x40
_PADDING = 3
"""Over a stream each message is padded to a multiple of four; over UDP it may be."""


def wrap(channel: int, datagrams: Datagrams) -> Datagrams:
    """A batch as ChannelData of one channel. Each datagram has at most MAX_PAYLOAD bytes."""
    view, stride = memoryview(datagrams.data), datagrams.stride
    whole = len(view) // stride * stride if stride else 0
    head = HEADER.pack(channel, min(stride, 0xFFFF))
    parts: list[Buffer] = []
    for at in range(0, whole, stride or 1):
        parts.append(head)
        parts.append(view[at : at + stride])
    if whole < len(view):
        parts.append(HEADER.pack(channel, len(view) - whole))
        parts.append(view[whole:])
    data = b"".join(parts)
    grown = min(stride + OVERHEAD, len(data))
    return Datagrams(data, grown, may_fragment=datagrams.may_fragment)


def unwrap(datagrams: Datagrams) -> Iterator[tuple[int, Datagrams]]:
    """The runs of a batch: their channel, and what it carried, in order; never raises.

    What is no ChannelData, or carries nothing, is left out.
    """
    view, stride = memoryview(datagrams.data), datagrams.stride
    run, current, size = _uniform_run(view, stride)
    last = size
    for at in range(len(run) * stride, len(view), stride or 1):
        room = min(stride, len(view) - at) - OVERHEAD
        if room < 1:
            continue
        channel, length = HEADER.unpack_from(view, at)
        if not is_number(channel) or not length or not 0 <= room - length <= _PADDING:
            continue
        if run and (channel != current or length > size or last < size):
            yield current, Datagrams(b"".join(run), size)
            run = []
        if not run:
            current, size = channel, length
        last = length
        run.append(view[at + OVERHEAD : at + OVERHEAD + length])
    if run:
        yield current, Datagrams(b"".join(run), size)


def _uniform_run(view: memoryview, stride: int) -> tuple[list[Buffer], int, int]:
    """The full datagrams of a batch, their channel and length, when all have the same header.

    That is nearly every batch, and four looks at all of it are cheaper than one at each datagram.
    """
    count = len(view) // stride if stride > OVERHEAD else 0
    if count < 2:
        return [], 0, 0
    end = count * stride
    channel, length = HEADER.unpack_from(view)
    uniform = all(bytes(view[i:end:stride]).count(view[i]) == count for i in range(OVERHEAD))
    if not uniform or not is_number(channel) or length != stride - OVERHEAD:
        return [], 0, 0
    run: list[Buffer] = [view[at + OVERHEAD : at + stride] for at in range(0, end, stride)]
    return run, channel, length


def is_number(channel: int) -> bool:
    """Whether a number can be a channel's, for an old client too."""
    return FIRST_CHANNEL <= channel <= _LAST_OLD_CHANNEL


def separate(datagrams: Datagrams) -> tuple[Sequence[Datagrams], Sequence[Buffer]]:
    """A batch's runs of ChannelData, and its STUN messages.

    The first two bits tell them apart (section 12), which spares most batches a closer look.
    """
    heads = bytes(datagrams.data[:: datagrams.stride or 1])
    return ((datagrams,), ()) if heads and min(heads) >= _NO_STUN else split(datagrams)
