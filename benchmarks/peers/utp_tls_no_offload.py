"""The same without the kernel's segmented sends and merged receives (UDP_SEGMENT, UDP_GRO)."""

from __future__ import annotations

from benchmarks.peers.host import HostPeer
from keynet.transport.utp import transport


def make() -> HostPeer:
    return HostPeer(transport(), shell="plain")
