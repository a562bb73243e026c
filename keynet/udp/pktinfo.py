"""The control messages that say which local address a datagram came to or shall leave from.

Only a socket bound to a wildcard address needs them (RFC 3542 section 6; ip(7) for IPv4).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys

from keynet.udp.zones import ipv6_text, scope_of

ControlMessage = tuple[int, int, bytes]
"""Level, type, data, as sendmsg(2) takes them."""

_IP_PKTINFO = 26 if sys.platform == "darwin" else 8
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)

_IPV4 = struct.Struct("=i4s4s")
"""Interface, the local address to answer from, the header's destination."""
_IPV6 = struct.Struct("=16sI")
"""Address, interface."""

MESSAGE_SIZE = 20
"""The larger of the two, in bytes."""


def enable(sock: socket.socket) -> bool:
    """Ask for the local address with each receive; False where the system cannot."""
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return True
    return False


def is_pktinfo(level: int, kind: int) -> bool:
    """Whether a received control message is one of ours."""
    return (level, kind) in ((socket.IPPROTO_IP, _IP_PKTINFO), (socket.IPPROTO_IPV6, _IPV6_PKTINFO))


def local_of(data: bytes) -> str | None:
    """The local IP that a received control message names; None when it is malformed."""
    if len(data) == _IPV4.size:
        _, local, _ = _IPV4.unpack(data)
        return str(ipaddress.IPv4Address(local))
    if len(data) == _IPV6.size:
        raw, interface = _IPV6.unpack(data)
        address = ipaddress.IPv6Address(raw)
        return ipv6_text(str(address), interface if address.is_link_local else 0)
    return None


def message_for(local: str) -> ControlMessage:
    """The control message that sends from `local`. Raises OSError for an unknown zone."""
    host, _, zone = local.partition("%")
    if ":" in host:
        raw = ipaddress.IPv6Address(host).packed
        return (socket.IPPROTO_IPV6, _IPV6_PKTINFO, _IPV6.pack(raw, scope_of(zone)))
    raw = ipaddress.IPv4Address(host).packed
    return (socket.IPPROTO_IP, _IP_PKTINFO, _IPV4.pack(0, raw, raw))
