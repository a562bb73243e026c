"""What a link tells its owner. Frozen, in the past tense."""

from __future__ import annotations

from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.udp.path import Path


@dataclass(frozen=True, slots=True)
class PathValidated:
    """The peer has answered over a path: it may be used."""

    path: Path
    rtt: float | None


@dataclass(frozen=True, slots=True)
class PathSelected:
    """From now on everything to the peer goes this way."""

    path: Path
    mtu: int
    """The largest datagram that is known to pass whole, in bytes."""
    rtt: float | None
    """A measured round trip in seconds, if there is one."""


@dataclass(frozen=True, slots=True)
class PathDied:
    """A path has been silent for too long."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class PunchWanted:
    """The path in use misses its first pong: begin to punch again. Once in each outage."""

    reason: str


@dataclass(frozen=True, slots=True)
class PunchEnded:
    """Nothing more is tried of what was to be punched."""

    opened: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LinkRecovered:
    """The peer is heard again after `silence` seconds in which a loss was feared."""

    path: Path
    silence: float


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The peer has not been heard for too long. Always the last event."""

    reason: str


@dataclass(frozen=True, slots=True)
class MappingChanged:
    """The peer sees this node at another address than before: its NAT maps anew, or it moved."""

    path: Path
    mapped: SocketAddress


LinkEvent = (
    PathValidated
    | PathSelected
    | PathDied
    | PunchWanted
    | PunchEnded
    | LinkRecovered
    | MappingChanged
    | LinkLost
)
