"""UDP sockets and their options, on every platform. Nothing here sends or receives.

Numbers that Python's socket module does not name stand here, each from the platform's headers.
"""

from __future__ import annotations

import contextlib
import socket
import sys

from keynet.address import SocketAddress
from keynet.udp.zones import sockaddr_of

UDP_SEGMENT = 103
UDP_GRO = 104
"""linux/udp.h"""

ON_LINUX = sys.platform.startswith(("linux", "android"))

_PMTUDISC_DONT = 0
_PMTUDISC_PROBE = 3
"""linux/in.h: PROBE sets don't-fragment and ignores what ICMP says of the path's MTU."""

# (level, option, value when fragmenting is forbidden, value when it is allowed) for IPv4, IPv6.
_DontFragment = tuple[int, int, int, int]
_LINUX = ((0, 10, _PMTUDISC_PROBE, _PMTUDISC_DONT), (41, 23, _PMTUDISC_PROBE, _PMTUDISC_DONT))
_DONT_FRAGMENT: dict[str, tuple[_DontFragment, _DontFragment]] = {
    "linux": _LINUX,
    "android": _LINUX,
    "darwin": ((0, 28, 1, 0), (41, 62, 1, 0)),
    "win32": ((0, 14, 1, 0), (41, 14, 1, 0)),
    "freebsd": ((0, 67, 1, 0), (41, 62, 1, 0)),
}


def open_socket(address: SocketAddress) -> socket.socket:
    """A non-blocking UDP socket bound to `address`; IPv6 ones carry IPv6 only.

    Raises OSError as bind(2) does.
    """
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _ignore_connection_reset(sock)
        allow_fragments(sock, False)
        sock.bind(sockaddr_of(address))
    except BaseException:
        sock.close()
        raise
    return sock


def _ignore_connection_reset(sock: socket.socket) -> None:
    """On Windows, keep ICMP port unreachable from failing the next receive."""
    control = getattr(sock, "ioctl", None)
    if control is not None:
        sio_udp_connreset = 0x9800000C
        with contextlib.suppress(OSError, ValueError):
            control(sio_udp_connreset, False)


def allow_fragments(sock: socket.socket, allowed: bool) -> bool:
    """Clear (or set) don't-fragment for what the socket sends next; False where unsupported."""
    name = next((name for name in _DONT_FRAGMENT if sys.platform.startswith(name)), None)
    if name is None:
        return False
    level, option, forbid, allow = _DONT_FRAGMENT[name][sock.family == socket.AF_INET6]
    try:
        sock.setsockopt(level, option, allow if allowed else forbid)
    except OSError:
        return False
    return True


def enable_receive_merging(sock: socket.socket) -> bool:
    """Let the kernel hand over runs of equal datagrams in one receive (UDP_GRO); False if not."""
    if not ON_LINUX:
        return False
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def can_segment(sock: socket.socket) -> bool:
    """Whether the kernel knows UDP_SEGMENT. A device may still refuse it: send and see."""
    if not ON_LINUX:
        return False
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
