"""keynet's built-in transport: uTP with TLS 1.3, with whatever the kernel offers."""

from __future__ import annotations

from benchmarks.peers.host import HostPeer
from keynet.transport.utp import transport


def make() -> HostPeer:
    return HostPeer(transport())
