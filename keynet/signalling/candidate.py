"""Addresses at which a node may be reached: their kinds, their order, and which are ever probed.

Values and pure functions; who gathers them is `keynet.discovery`, who tries them is the puncher.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from keynet.address import SocketAddress

MAX_CANDIDATES = 16
"""Of one node; the best are kept."""

_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Carrier-grade NAT's own (RFC 6598)."""
_LIMITED_BROADCAST = ipaddress.ip_address("255.255.255.255")


class CandidateKind(Enum):
    """Where an address was learnt (RFC 8445 section 5.1.1)."""

    HOST = "host"
    """An interface's own."""
    REFLEXIVE = "reflexive"
    """What a seed sees: the outside of a NAT."""
    STATIC = "static"
    """What somebody configured."""
    RELAYED = "relayed"
    """A relay's, allocated for this node."""


_TYPE_PREFERENCE = {
    CandidateKind.HOST: 126,
    CandidateKind.STATIC: 120,
    CandidateKind.REFLEXIVE: 100,
    CandidateKind.RELAYED: 0,
}
"""RFC 8445 section 5.1.2.2 recommends these for host, server reflexive and relayed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address of a node."""

    kind: CandidateKind
    address: SocketAddress
    priority: int
    """Higher is tried first: RFC 8445 section 5.1.2.1."""
    foundation: str
    """Equal for candidates that go the same way (RFC 8445 section 5.1.1.3), short."""


def candidate(kind: CandidateKind, address: SocketAddress, order: int = 0) -> Candidate:
    """A candidate with the priority and foundation that its kind and family give.

    `order` tells several of one kind and family apart, the best 0. IPv6 comes before IPv4 of the
    same kind (RFC 8421 section 4).
    """
    local = 65535 - 2 * min(order, 1000) - (0 if address.is_ipv6 else 1)
    priority = _TYPE_PREFERENCE[kind] << 24 | local << 8 | 255
    family = "6" if address.is_ipv6 else "4"
    return Candidate(kind, address, priority, f"{kind.value}{family}")


def best(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """At most MAX_CANDIDATES, the highest priority first, each address once."""
    by_address: dict[SocketAddress, Candidate] = {}
    for one in sorted(candidates, key=lambda c: -c.priority):
        by_address.setdefault(one.address, one)
    return tuple(by_address.values())[:MAX_CANDIDATES]


def is_usable(address: SocketAddress, *, loopback: bool = False) -> bool:
    """Whether datagrams may be sent there because a peer said so.

    Not to many receivers, not to this machine itself (unless `loopback`, for nodes that are bound
    to nothing else), and not to link-local addresses, which mean nothing to anybody else.
    """
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if not 0 < address.port <= 65535 or (ip.is_loopback and not loopback):
        return False
    reserved = ip.is_reserved and not ip.is_loopback  # all of ::/8 is reserved, ::1 too
    to_many = ip.is_multicast or ip == _LIMITED_BROADCAST
    return not (to_many or reserved or ip.is_unspecified or ip.is_link_local)


def is_private(address: SocketAddress) -> bool:
    """Whether an address says something of a private network: RFC 1918, 4193 and 6598."""
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip in _SHARED or ip.is_loopback or any(ip in net for net in _PRIVATE_IPV4)
    return ip in _UNIQUE_LOCAL or ip.is_loopback


_PRIVATE_IPV4 = tuple(
    ipaddress.IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


def for_peer(
    candidates: Iterable[Candidate], seen: Collection[SocketAddress], *, friend: bool
) -> tuple[Candidate, ...]:
    """What a peer is told: of private addresses only those that seeds have `seen`, unless it is a
    friend (trusted, or in the same network)."""
    return tuple(
        one for one in candidates if friend or one.address in seen or not is_private(one.address)
    )
