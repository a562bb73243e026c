"""What is known of one path to a peer: its round trip, when it was heard, what fits through."""

from __future__ import annotations

from dataclasses import dataclass, field

from keynet.address import SocketAddress
from keynet.signalling.pings import Probe
from keynet.udp.path import Path

SAFE_MTU = 1232
"""UDP payload that fits into 1280 bytes, the least an IPv6 path takes (RFC 8200 section 5)."""

MAX_PATHS = 8
"""Of one peer; the worst of those at rest goes first."""
SETTLING = 0.5
"""Seconds after a handshake in which the peer may not know of the link yet."""

_SIZES = (1372, 1452, 1472, 4052, 8952, 8972)
"""UDP payloads worth trying: tunnels, Ethernet over IPv6 and IPv4, and jumbo frames."""

_SMOOTHING = 0.25
"""The share of a new round trip in the smoothed one."""


@dataclass(slots=True, eq=False)
class PathState:
    """One validated path."""

    path: Path
    heard_at: float
    """The last authentic arrival over it."""
    ping_at: float
    """When it is to be pinged again."""
    rtt: float | None = None
    """Smoothed, in seconds."""
    last_rtt: float | None = None
    """The latest, in seconds."""
    pongs: int = 0
    """How many have come over it."""
    mapped: SocketAddress | None = None
    """This node's address on it, as the peer sees it."""
    mtu: int = SAFE_MTU
    """The largest datagram that has come through whole, in bytes."""
    search_at: float = 0.0
    """When to search for a larger one."""
    probe: Probe | None = None
    """The ping under way to keep it alive."""
    size_probe: Probe | None = None
    """The padded ping under way."""
    untried: list[int] = field(default_factory=list)
    """Sizes still to be tried in this search, ascending."""

    @property
    def failing(self) -> bool:
        """Whether a pong is overdue."""
        return self.probe is not None and self.probe.missed

    def heard(self, now: float) -> None:
        """Something authentic arrived over it."""
        self.heard_at = max(self.heard_at, now)

    def measured(self, rtt: float) -> None:
        """A pong came after `rtt` seconds."""
        self.last_rtt, self.pongs = rtt, self.pongs + 1
        self.rtt = rtt if self.rtt is None else self.rtt + _SMOOTHING * (rtt - self.rtt)

    def begin_search(self, ceiling: int) -> None:
        """Try what is larger than what has passed, up to what the local interface takes."""
        sizes = {*_SIZES, ceiling - ceiling % 4}
        self.untried = sorted(size for size in sizes if self.mtu < size <= ceiling)

    def is_better(self, current: PathState | None, share: float) -> bool:
        """Whether to leave `current` for this path: clearly quicker, by `share`, or `current`
        fails."""
        if current is None or current.failing:
            return True
        if self.rtt is None or current.rtt is None:
            return False
        return self.rtt < share * current.rtt


def rank(state: PathState) -> tuple[bool, float]:
    """Sorts paths, the best first: those that answer, then by their round trips."""
    return (state.failing, state.rtt if state.rtt is not None else 1.0)
