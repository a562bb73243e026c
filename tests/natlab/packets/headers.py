"""IPv4, UDP and ICMP headers as a NAT sees them: reading endpoints, and rewriting them in place.

Checksums are adjusted as in RFC 1624, never computed anew but for the short ICMP errors. No state.
"""

from __future__ import annotations

import struct
from typing import Final

Endpoint = tuple[int, int]
"""IPv4 address and port, as numbers."""

SOURCE: Final = 12
DESTINATION: Final = 16
"""Where in the IP header the address stands."""

ICMP: Final = 1
UDP: Final = 17
ICMP_HEADER: Final = 8
ICMP_ERRORS: Final = frozenset((3, 11, 12))
"""Destination unreachable, time exceeded, parameter problem: they quote the packet that failed."""

_ADDRESS = struct.Struct("!I")
_PORT = struct.Struct("!H")


def transport_at(packet: bytes | bytearray, at: int, protocol: int) -> int | None:
    """Where the UDP or ICMP header begins of the unfragmented IPv4 packet that begins at `at`.

    None when it is something else, or not even those 8 bytes are there.
    """
    if len(packet) < at + 28 or packet[at] >> 4 != 4 or packet[at + 9] != protocol:
        return None
    if packet[at + 6] & 0x3F or packet[at + 7]:  # more fragments, or not the first
        return None
    begin = at + (packet[at] & 0x0F) * 4
    return begin if at + 20 <= begin <= len(packet) - 8 else None


def address(packet: bytes | bytearray, at: int, side: int) -> int:
    value: int = _ADDRESS.unpack_from(packet, at + side)[0]
    return value


def endpoint(packet: bytes | bytearray, at: int, transport: int, side: int) -> Endpoint:
    return address(packet, at, side), _PORT.unpack_from(packet, _port_at(transport, side))[0]


def set_address(packet: bytearray, at: int, side: int, new: int) -> None:
    old = address(packet, at, side)
    _ADDRESS.pack_into(packet, at + side, new)
    _adjust(packet, at + 10, old, new)


def set_endpoint(packet: bytearray, at: int, transport: int, side: int, new: Endpoint) -> None:
    """Put another address and port in the packet, and right both of its checksums."""
    old = endpoint(packet, at, transport, side)
    set_address(packet, at, side, new[0])
    _PORT.pack_into(packet, _port_at(transport, side), new[1])
    if packet[transport + 6] or packet[transport + 7]:  # zero says that there is none
        _adjust(packet, transport + 6, old[0] << 16 | old[1], new[0] << 16 | new[1])


def set_icmp_checksum(packet: bytearray, transport: int) -> None:
    packet[transport + 2 : transport + 4] = b"\0\0"
    body = packet[transport:]
    total = int.from_bytes(body + b"\0" * (len(body) % 2), "big") % 0xFFFF
    _PORT.pack_into(packet, transport + 2, 0xFFFF - total)


def _port_at(transport: int, side: int) -> int:
    return transport if side == SOURCE else transport + 2


def _adjust(packet: bytearray, at: int, old: int, new: int) -> None:
    """A ones' complement sum of 16-bit words is the whole number modulo 0xFFFF."""
    checksum: int = _PORT.unpack_from(packet, at)[0]
    _PORT.pack_into(packet, at, 0xFFFF - (0xFFFF - checksum - old + new) % 0xFFFF)
