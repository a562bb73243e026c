"""All allocations of a server: by number and by client, within the limits. Pure."""

from __future__ import annotations

from collections import Counter, deque

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.relay.allocation import Allocation
from keynet.relay.codec import ErrorCode
from keynet.relay.events import PortReleased, PortWanted, ServerEvent
from keynet.relay.limits import RelayLimits, Usage
from keynet.udp.path import Path

SWEEP = 1.0
"""Seconds between looks at what has expired."""
MAX_WAITING_EVENTS = 4096


class Allocations:
    """The table. What it does to sockets, it tells in `events`."""

    def __init__(self, limits: RelayLimits, counters: Counter[str]) -> None:
        self.events: deque[ServerEvent] = deque()
        self._limits = limits
        self._counters = counters
        self._usage = Usage(limits)
        self._by_number: dict[int, Allocation] = {}
        self._by_client: dict[Path, Allocation] = {}
        self._relayed: set[SocketAddress] = set()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._by_number)

    def get(self, number: int) -> Allocation | None:
        """The allocation of a number."""
        return self._by_number.get(number)

    def of_client(self, client: Path) -> Allocation | None:
        """The allocation of a client: a client's path has one at most."""
        return self._by_client.get(client)

    def fault_of_one_more(self, node: str, host: str, now: float) -> ErrorCode | None:
        """Why a node, at an address, gets no allocation; None when it does."""
        behind = len(self.events) >= MAX_WAITING_EVENTS  # more would only pile up
        if len(self._by_number) >= self._limits.allocations or behind:
            return ErrorCode.INSUFFICIENT_CAPACITY
        return None if self._usage.admits(node, host, now) else ErrorCode.QUOTA_REACHED

    def begin(self, allocation: Allocation, now: float) -> None:
        """Keep a new allocation, and ask for its socket."""
        self._by_number[allocation.number] = self._by_client[allocation.client] = allocation
        self._usage.opened(allocation.node, allocation.client.remote.host)
        self._sweep_at = max(self._sweep_at, now)
        self.events.append(PortWanted(allocation.number, allocation.ipv6, allocation.even))

    def opened(self, number: int, relayed: SocketAddress) -> Allocation | None:
        """Its socket is open. None, and the socket given back, when nobody waits for it."""
        allocation = self._by_number.get(number)
        if allocation is None:
            self.events.append(PortReleased(number, relayed, "no longer wanted"))
            return None
        allocation.relayed = relayed
        self._relayed.add(relayed)
        self._counters["allocations"] += 1
        return allocation

    def end(self, allocation: Allocation, reason: str) -> None:
        """Forget an allocation, and give its socket back. Idempotent."""
        if self._by_number.pop(allocation.number, None) is None:
            return
        del self._by_client[allocation.client]
        self._usage.closed(allocation.node, allocation.client.remote.host)
        self._counters[f"allocations ended: {reason}"] += 1
        if allocation.relayed is not None:
            self._relayed.discard(allocation.relayed)
            self.events.append(PortReleased(allocation.number, allocation.relayed, reason))

    def end_all(self, reason: str) -> None:
        """Forget every allocation."""
        for allocation in list(self._by_number.values()):
            self.end(allocation, reason)

    def next_sweep(self) -> float | None:
        """When to call `sweep`; None while there are no allocations."""
        return self._sweep_at if self._by_number else None

    def sweep(self, now: float) -> None:
        """End what has expired."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP
        for allocation in list(self._by_number.values()):
            if allocation.expires_at <= now:
                over = allocation.expires_at >= allocation.ends_at
                self.end(allocation, "its time was used up" if over else "it expired")

    def charge(self, allocation: Allocation, datagrams: Datagrams, now: float) -> bool:
        """Whether a batch may pass; it is counted then. Ends the allocation without bytes left."""
        octets = len(datagrams.data)
        passes = self._usage.charge(allocation.node, allocation.client.remote.host, octets, now)
        if passes:
            allocation.octets += octets
            self._counters["datagrams relayed"] += len(datagrams)
            self._counters["bytes relayed"] += octets
            return True
        if passes is None:
            self._counters["datagrams above the bytes of a period"] += len(datagrams)
            self.end(allocation, "its bytes were used up")
        else:
            self._counters["datagrams above the bandwidth"] += len(datagrams)
        return False

    def is_relayed(self, address: SocketAddress) -> bool:
        """Whether an address is an allocation's here."""
        return address in self._relayed

    def shares_host(self, address: SocketAddress) -> bool:
        """Whether relayed addresses have that host: it is this machine."""
        return any(one.host == address.host for one in self._relayed)
