"""Socket buffers: asking for large ones, saying what was refused, and what fits into them."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from dataclasses import dataclass

from keynet.udp.options import ON_LINUX

logger = logging.getLogger("keynet.udp")

BUFFER_SIZE = 8 * 1024 * 1024
"""The socket buffers asked for, in bytes, each way."""

SMALLEST_BUFFER = 65536
"""Where halving a refused size stops."""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; they need CAP_NET_ADMIN and pass the system's limit."""

_SO_MEMINFO = 55
_SK_MEMINFO_DROPS = 8
"""asm-generic/socket.h, linux/sock_diag.h"""

PAYLOAD_SHARE = 0.4 if ON_LINUX else 0.5
"""How much of SO_RCVBUF (as read back) payload may fill.

Linux reads back twice what was asked and charges each packet its memory: 1472-byte payloads over
veth fill 0.64 of it, 1200-byte ones 0.52; a quarter of the buffer may stay charged for a while
after it was read (net/ipv4/udp.c, forward_threshold). So 0.4 is what never overflows."""


@dataclass(slots=True)
class Buffers:
    """A socket's buffer sizes in bytes."""

    asked: int
    receive: int
    """SO_RCVBUF as read back; Linux reports twice what payload and overhead may use."""
    send: int

    @property
    def refused(self) -> bool:
        """Whether the system gave less than was asked, in either direction."""
        factor = 2 if ON_LINUX else 1
        return min(self.receive, self.send) < self.asked * factor

    @property
    def payload(self) -> int:
        """The payload bytes that surely fit into the receive buffer."""
        return int(self.receive * PAYLOAD_SHARE)


def enlarge_buffers(sock: socket.socket, size: int) -> Buffers:
    """Ask for `size` bytes each way, privileged first; log what the system refused."""
    _enlarge(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, size)
    _enlarge(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, size)
    got = Buffers(
        asked=size,
        receive=sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        send=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
    )
    if got.refused:
        logger.warning(
            "the system gave smaller UDP buffers than the %d bytes asked for: SO_RCVBUF reads %d,"
            " SO_SNDBUF %d; throughput suffers (on Linux raise net.core.rmem_max and wmem_max)",
            size,
            got.receive,
            got.send,
        )
    return got


def _enlarge(sock: socket.socket, force: int, plain: int, size: int) -> None:
    if ON_LINUX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, force, size)
            return
    while size >= SMALLEST_BUFFER:
        try:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EINVAL, errno.ENOMEM):
                return
            size //= 2
        else:
            return


def receive_drops(sock: socket.socket) -> int:
    """How many datagrams the kernel dropped because the receive buffer was full; 0 if unknown."""
    if not ON_LINUX:
        return 0
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
    except OSError:
        return 0
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return int(words[_SK_MEMINFO_DROPS]) if len(words) > _SK_MEMINFO_DROPS else 0
