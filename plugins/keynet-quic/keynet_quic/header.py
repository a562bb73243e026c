"""Reading what every QUIC packet shows in clear (RFC 8999, RFC 9000 section 17). Pure.

Nothing here decrypts, keeps state or believes what it reads.
"""

from __future__ import annotations

from aioquic.buffer import Buffer as QuicBuffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE as SMALLEST_INITIAL
from aioquic.quic.packet import QuicHeader, QuicPacketType, QuicProtocolVersion, pull_quic_header

from keynet.engine import Buffer

CONNECTION_ID_SIZE = 8
"""Bytes of the connection ids that this side chooses."""
SMALLEST_FIRST_ID = 8
"""Bytes of the id that a dialer makes up for its first packet, at least (RFC 9000, 7.2)."""
VERSIONS = (QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2)
FIRST_BYTES = bytes([*range(0x40, 0x80), *range(0xC0, 0x100)])
"""The first byte has the fixed bit set: short headers, then long ones."""

_LONG = 0x80
_LONG_HEAD = 6
"""Bytes of a long header before the destination id: flags, version, the id's length."""


def initial(datagram: Buffer) -> QuicHeader | None:
    """The header of a datagram that could begin a connection; None when it cannot."""
    if len(datagram) < SMALLEST_INITIAL or not datagram[0] & _LONG:
        return None
    try:
        header = pull_quic_header(QuicBuffer(data=bytes(datagram)), CONNECTION_ID_SIZE)
    except ValueError:
        return None
    is_initial = header.version in VERSIONS and header.packet_type is QuicPacketType.INITIAL
    return header if is_initial and len(header.destination_cid) >= SMALLEST_FIRST_ID else None


def connection_id(datagram: Buffer) -> bytes | None:
    """The destination id that a datagram shows; None when it is too short to have one."""
    if len(datagram) <= CONNECTION_ID_SIZE:
        return None
    if not datagram[0] & _LONG:
        return bytes(datagram[1 : 1 + CONNECTION_ID_SIZE])
    end = _LONG_HEAD + datagram[_LONG_HEAD - 1]
    return bytes(datagram[_LONG_HEAD:end]) if end <= len(datagram) else None
