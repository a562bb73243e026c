"""TUN and TAP interfaces in any namespace, for the processes that move packets between them.

Without offloads: the kernel completes checksums and cuts segments before it hands a packet over.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI = 0x0001, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
LARGEST_FRAME = 65_536
MOST_AT_ONCE = 64
"""Packets read from one interface before the others have their turn."""


def be_prompt() -> None:
    """Run before everything else on the machine, as a cable does, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def open_interface(namespace: str, name: str, *, tap: bool) -> int:
    """Make the interface in that namespace; it is gone when the descriptor is closed.

    Raises OSError where the namespace is missing or the kernel refuses.
    """
    with _entered(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = IFF_TAP if tap else IFF_TUN
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | IFF_NO_PI))
    return descriptor


def read_packets(descriptor: int) -> Iterator[bytes]:
    """What is there to be read now, at most MOST_AT_ONCE."""
    for _ in range(MOST_AT_ONCE):
        try:
            yield os.read(descriptor, LARGEST_FRAME)
        except BlockingIOError:
            return


def write_packet(descriptor: int, packet: bytes) -> None:
    """Hand a packet to the kernel, which loses it when the interface is down."""
    with contextlib.suppress(OSError):
        os.write(descriptor, packet)


@contextlib.contextmanager
def _entered(namespace: str) -> Iterator[None]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set_namespace(there)
        try:
            yield
        finally:
            _set_namespace(home)
    finally:
        os.close(there)
        os.close(home)


def _set_namespace(descriptor: int) -> None:
    """os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
