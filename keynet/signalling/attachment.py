"""A connection's hold on the link below it: all that a transport engine is given of it.

Transports are fed by a link and never see an address. Which path is used is the link's to say; a
connection that has no link yet, because its peer has not proved who it is, has one path of its own.
"""

from __future__ import annotations

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.signalling.link import Link
from keynet.signalling.path_state import SAFE_MTU
from keynet.udp.api import Endpoint, Sent
from keynet.udp.budget import ReceiveBudget
from keynet.udp.path import Path


class Attachment:
    """One connection's way to its peer; satisfies `keynet.transport.api.LinkInfo`."""

    __slots__ = ("_endpoint", "link", "path")

    def __init__(self, endpoint: Endpoint, path: Path, link: Link | None = None) -> None:
        self._endpoint = endpoint
        self.path = path
        """Where datagrams go now."""
        self.link = link
        """What tells of round trips and packet sizes; None before the peer is known."""

    @property
    def local(self) -> SocketAddress | None:
        """This side's address on the path in use; its IP is the socket's own (perhaps a wildcard)
        while the kernel chooses."""
        for bound in self._endpoint.addresses:
            if bound.is_ipv6 == self.path.remote.is_ipv6:
                return SocketAddress(self.path.local or bound.host, bound.port)
        return None

    @property
    def rtt(self) -> float | None:
        """The measured round trip in seconds, if there is one."""
        return self.link.rtt if self.link is not None else None

    @property
    def mtu(self) -> int:
        """The largest datagram that the path in use is known to take, in bytes."""
        known = self.link.mtu(self.path) if self.link is not None else SAFE_MTU
        return min(known, self.mtu_ceiling)

    @property
    def mtu_ceiling(self) -> int:
        return self._endpoint.mtu_ceiling(self.path)

    @property
    def budget(self) -> ReceiveBudget:
        return self._endpoint.budget

    def send(self, datagrams: Datagrams) -> Sent:
        """Send over the path in use; see `keynet.udp.api.Endpoint.send`."""
        return self._endpoint.send(datagrams, self.path)
