"""The link to one peer. In this version: one path, known from the start, that never changes.

Transports are fed by a link and never see an address. Punching, standby paths and liveness will
change what a link does inside, and nothing above it.
"""

from __future__ import annotations

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.api import Endpoint, Sent
from keynet.udp.budget import ReceiveBudget
from keynet.udp.path import Path

SAFE_MTU = 1232
"""UDP payload that fits into 1280 bytes, the least an IPv6 path takes (RFC 8200 section 5)."""


class Link:
    """One path over one endpoint; satisfies `keynet.transport.api.LinkInfo`."""

    __slots__ = ("_endpoint", "path", "rtt")

    def __init__(self, endpoint: Endpoint, path: Path) -> None:
        self._endpoint = endpoint
        self.path = path
        self.rtt: float | None = None

    @property
    def local(self) -> SocketAddress | None:
        """This side's address on the path in use; its IP is the socket's own (perhaps a wildcard)
        while the kernel chooses."""
        for bound in self._endpoint.addresses:
            if bound.is_ipv6 == self.path.remote.is_ipv6:
                return SocketAddress(self.path.local or bound.host, bound.port)
        return None

    @property
    def mtu(self) -> int:
        return min(SAFE_MTU, self.mtu_ceiling)

    @property
    def mtu_ceiling(self) -> int:
        return self._endpoint.mtu_ceiling(self.path)

    @property
    def budget(self) -> ReceiveBudget:
        return self._endpoint.budget

    def send(self, datagrams: Datagrams) -> Sent:
        """Send over the path in use; see `keynet.udp.api.Endpoint.send`."""
        return self._endpoint.send(datagrams, self.path)
