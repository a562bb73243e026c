"""How large a UDP payload the local interface towards a peer takes."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from keynet.udp.options import ON_LINUX
from keynet.udp.path import Path
from keynet.udp.sending import MAX_PAYLOAD
from keynet.udp.zones import sockaddr_of

_ETHERNET = 1500
_IPV4_OVERHEAD = 28
_IPV6_OVERHEAD = 48
"""IP and UDP headers, in bytes."""

_IP_MTU = 14
_IPV6_MTU = 24
"""linux/in.h, linux/in6.h: the MTU of a connected socket's route."""

_LIMIT = 1024
_LIFETIME = 60.0
"""Seconds: interfaces and routes change seldom, but they do."""


class MtuCeilings:
    """The answers of `payload_ceiling`, cached for a while."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[float, int]] = {}

    def get(self, path: Path, now: float) -> int:
        """The largest UDP payload in bytes; `now` is monotonic, in seconds."""
        expires_at, ceiling = self._known.get(path, (0.0, 0))
        if not ceiling or expires_at <= now:
            ceiling = payload_ceiling(path)
            if len(self._known) >= _LIMIT:
                self._known.clear()
            self._known[path] = now + _LIFETIME, ceiling
        return ceiling


def payload_ceiling(path: Path) -> int:
    """Ask the system, or else assume Ethernet, and the largest payload on loopback."""
    overhead = _IPV6_OVERHEAD if path.remote.is_ipv6 else _IPV4_OVERHEAD
    mtu = _interface_mtu(path) if ON_LINUX else None
    if mtu is None:
        on_loopback = ipaddress.ip_address(path.remote.host).is_loopback
        return MAX_PAYLOAD if on_loopback else _ETHERNET - overhead
    return max(1, min(mtu - overhead, MAX_PAYLOAD))


def _interface_mtu(path: Path) -> int | None:
    """The MTU of the route, from a socket that is connected but sends nothing."""
    ipv6 = path.remote.is_ipv6
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        if path.local is not None:
            probe.bind(sockaddr_of(path.remote._replace(host=path.local, port=0)))
        probe.connect(sockaddr_of(path.remote))
        if ipv6:
            return probe.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    return None
