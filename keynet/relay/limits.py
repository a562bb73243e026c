"""What a relay gives away, and who has used how much of it. Pure.

Everything is counted for the node that the credentials name and for the IP address that it comes
from: many names from one address get no more than that address may.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass

from keynet.errors import ConfigError
from keynet.rates import MAX_KEYS, Rates

MIN_BURST = float(1 << 19)
"""Bytes at once, whatever the rate: a batch is relayed whole or not at all."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The defaults suit a relay that helps a few dozen nodes out."""

    allocations: int = 128
    """At once, in all."""
    allocations_per_node: int = 4
    allocations_per_address: int = 16
    permissions: int = 64
    """Hosts that one allocation may exchange data with."""
    channels: int = 64
    """Of one allocation."""
    bandwidth: float = 2_500_000.0
    """Bytes a second of one node, both ways together."""
    bandwidth_per_address: float = 5_000_000.0
    bandwidth_in_all: float = 12_500_000.0
    octets: int = 10_000_000_000
    """Bytes that a node may have relayed in one period."""
    octets_per_address: int = 40_000_000_000
    period: float = 86_400.0
    """Seconds after which bytes are counted anew."""
    lifetime: int = 3600
    """Seconds that one refresh buys at most."""
    duration: float = 43_200.0
    """Seconds after which an allocation ends, refreshed or not."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"the relay's limit {name} is a number above 0, not {value}")


class Usage:
    """How much of the limits is used."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._allocations: Counter[tuple[str, str]] = Counter()
        self._octets: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._period_ends_at = 0.0
        self._in_all = _bucket(limits.bandwidth_in_all)
        self._of_nodes = _bucket(limits.bandwidth)
        self._of_addresses = _bucket(limits.bandwidth_per_address)

    def admits(self, node: str, host: str, now: float) -> bool:
        """Whether a node, at an address, may have one more allocation."""
        limits = self._limits
        return (
            self._allocations["node", node] < limits.allocations_per_node
            and self._allocations["address", host] < limits.allocations_per_address
            and not self._used_up(node, host, 1, now)
        )

    def opened(self, node: str, host: str) -> None:
        """An allocation has begun."""
        self._allocations["node", node] += 1
        self._allocations["address", host] += 1

    def closed(self, node: str, host: str) -> None:
        """An allocation that had begun has ended."""
        for key in (("node", node), ("address", host)):
            self._allocations[key] -= 1
            if not self._allocations[key]:
                del self._allocations[key]

    def charge(self, node: str, host: str, octets: int, now: float) -> bool | None:
        """Whether so many bytes may pass now; None when the period's bytes are used up."""
        if self._used_up(node, host, octets, now):
            self._count(node, host, octets)  # or a smaller batch would pass again
            return None
        if (
            self._of_nodes.take(node, now, octets)
            or self._of_addresses.take(host, now, octets)
            or self._in_all.take("", now, octets)
        ):
            return False
        self._count(node, host, octets)
        return True

    def _count(self, node: str, host: str, octets: int) -> None:
        for key in (("node", node), ("address", host)):
            self._octets[key] = self._octets.get(key, 0) + octets
            self._octets.move_to_end(key)
        while len(self._octets) > MAX_KEYS:
            self._octets.popitem(last=False)

    def _used_up(self, node: str, host: str, octets: int, now: float) -> bool:
        if now >= self._period_ends_at:
            self._period_ends_at = now + self._limits.period
            self._octets.clear()
        of_node = self._octets.get(("node", node), 0) + octets
        of_address = self._octets.get(("address", host), 0) + octets
        return of_node > self._limits.octets or of_address > self._limits.octets_per_address


def _bucket(rate: float) -> Rates[str]:
    return Rates(rate, max(rate, MIN_BURST))
