"""One allocation as the server keeps it: permissions and channels, and when they end. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from keynet.address import SocketAddress
from keynet.relay.channel_data import is_number
from keynet.relay.codec import FAMILY_IPV4, FAMILY_IPV6, ErrorCode
from keynet.udp.path import Path

PERMISSION_LIFETIME = 300.0
CHANNEL_LIFETIME = 600.0
"""Seconds (RFC 8656 sections 9 and 12)."""


@dataclass(slots=True)
class Allocation:
    """What one client has at the server."""

    number: int
    """The server's own name for it, never used twice."""
    client: Path
    """The client's address, and the server's that it talks to."""
    username: str
    node: str
    """Whom the username names: what is used is charged to it."""
    key: bytes = field(repr=False)
    transaction_id: bytes
    """Of the request that made it: the same one again gets the same answer."""
    ipv6: bool
    even: bool
    expires_at: float
    ends_at: float
    """No refresh gets it further than this."""
    relayed: SocketAddress | None = None
    """None until its socket is open."""
    octets: int = 0
    """Bytes relayed, both ways."""
    _permissions: dict[str, float] = field(default_factory=dict)
    _channels: dict[int, tuple[SocketAddress, float]] = field(default_factory=dict)
    _numbers: dict[SocketAddress, int] = field(default_factory=dict)

    @property
    def family(self) -> int:
        """As REQUESTED-ADDRESS-FAMILY."""
        return FAMILY_IPV6 if self.ipv6 else FAMILY_IPV4

    def seconds_left(self, now: float) -> int:
        """Until it expires."""
        return max(1, int(self.expires_at - now))

    def permits(self, host: str, now: float) -> bool:
        """Whether data to and from a host passes."""
        return self._permissions.get(host, 0.0) > now

    def permit(self, hosts: Iterable[str], now: float, most: int) -> bool:
        """Let hosts pass for another five minutes; False, and nothing done, for too many."""
        wanted = set(hosts)
        self._permissions = {h: at for h, at in self._permissions.items() if at > now}
        if len(self._permissions.keys() | wanted) > most:
            return False
        self._permissions |= dict.fromkeys(wanted, now + PERMISSION_LIFETIME)
        return True

    def bind(self, number: int, peer: SocketAddress, now: float, most: int) -> ErrorCode | None:
        """Bind a channel, or prolong it; what is wrong with that, or None (section 12.2)."""
        self._forget_channels(now)
        bound = self._channels.get(number)
        if not is_number(number) or (bound is not None and bound[0] != peer):
            return ErrorCode.BAD_REQUEST
        if self._numbers.get(peer, number) != number:
            return ErrorCode.BAD_REQUEST
        if bound is None and len(self._channels) >= most:
            return ErrorCode.INSUFFICIENT_CAPACITY
        self._channels[number] = (peer, now + CHANNEL_LIFETIME)
        self._numbers[peer] = number
        return None

    def peer_of(self, number: int, now: float) -> SocketAddress | None:
        """The peer that a channel is bound to."""
        peer, expires_at = self._channels.get(number, (None, 0.0))
        return peer if expires_at > now else None

    def channel_of(self, peer: SocketAddress, now: float) -> int:
        """The channel that is bound to a peer, or 0."""
        number = self._numbers.get(peer, 0)
        return number if number and self.peer_of(number, now) else 0

    def _forget_channels(self, now: float) -> None:
        for number, (peer, expires_at) in list(self._channels.items()):
            if expires_at <= now:
                del self._channels[number], self._numbers[peer]
