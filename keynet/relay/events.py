"""What the two TURN engines tell their shells. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.engine import Datagrams


class Loss(enum.Enum):
    """Why there is no allocation, by what to do next."""

    CLOSED = "closed"
    """This side gave it up."""
    SILENCE = "the relay does not answer"
    """Try another relay, or this one by TCP."""
    EXPIRED = "the allocation expired"
    """Allocate again."""
    MISMATCH = "the relay does not know this allocation"
    """It restarted, or this node's address changed: allocate again."""
    CREDENTIALS = "the relay refuses these credentials"
    """Get new ones."""
    QUOTA = "the quota at this relay is used up"
    """Wait a minute, or try another relay."""
    CAPACITY = "the relay is full"
    """Try another relay, or wait a minute."""
    UNSUPPORTED = "the relay does not offer this kind of address"
    """Ask for the other family, or another relay."""
    REFUSED = "the relay refused"
    """The detail says why; asking again will not help."""


@dataclass(frozen=True, slots=True)
class Allocated:
    """The relay has opened a port for this client."""

    relayed: SocketAddress
    """Where peers reach this client."""
    mapped: SocketAddress | None
    """Where the relay sees this client."""
    lifetime: float
    """Seconds until it must have been refreshed, which the engine does."""


@dataclass(frozen=True, slots=True)
class AllocationLost:
    """The engine is done: there is no allocation, or no more. Always the last event."""

    reason: Loss
    detail: str
    """For people: the relay's own words, if it said any."""


@dataclass(frozen=True, slots=True)
class PeerPermitted:
    """Data to and from a peer passes now."""

    peer: SocketAddress


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """The relay does not let data to this peer pass; it is forgotten."""

    peer: SocketAddress
    code: int
    """The relay's error code (RFC 8656 section 19)."""
    reason: str
    """The relay's own words, bounded and printable."""


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A batch that a peer sent to the relayed address."""

    peer: SocketAddress
    datagrams: Datagrams
    """A copy: it may be kept."""


ClientEvent = Allocated | AllocationLost | PeerPermitted | PeerRefused | DataReceived


@dataclass(frozen=True, slots=True)
class PortWanted:
    """The server needs a UDP socket. Answer with `port_opened` or `port_failed`."""

    number: int
    """Which allocation it is for."""
    ipv6: bool
    """The family asked for."""
    even: bool = False
    """Its port is to be even (RFC 8656 section 18.6)."""


@dataclass(frozen=True, slots=True)
class PortReleased:
    """An allocation has ended: close its socket."""

    number: int
    relayed: SocketAddress
    reason: str
    """For people and counters."""


ServerEvent = PortWanted | PortReleased
