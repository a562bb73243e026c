"""Packet size discovery (after RFC 8899): how large a datagram the path takes.

One `PathMtu` serves all streams of a connection, because they share the path. A probe is a padded
STATE packet with don't-fragment set, which the peer answers. It carries no data: a sequence
number cannot be split again, so a wrong guess with data would break a stream wherever fragments
are dropped.
"""

from __future__ import annotations

BASE_SIZE = 1232
"""1280, the least that IPv6 guarantees, without the IPv6 and UDP headers (RFC 8200 section 5)."""
ETHERNET_SIZE = 1472
USUAL_SIZES = (1392, 1452, ETHERNET_SIZE, 4052, 8952)
"""Payloads worth a try below the ceiling: tunnels, Ethernet over IPv6 and IPv4, jumbo frames."""
MAX_PROBES = 3
MAX_JUMBO_PROBES = 2
RETRY_INTERVAL = 0.1
PROBE_TIMEOUT = 1.0
"""Seconds after which a probe without an answer counts as lost."""
MAX_LARGE_LOSSES = 3
"""Retransmissions of large packets lost in a row that mean a smaller path: smaller packets may
still pass, so that no time-out shows it."""
RAISE_INTERVAL = 600.0
"""Seconds before failed sizes are tried again (PMTU_RAISE_TIMER, RFC 8899 section 5.1.1)."""


class PathMtu:
    """The search over a few sizes: the usual one first, then from the largest down.

    What a sender may not send yet is passed over: a slow path never has room for the largest.
    """

    __slots__ = (
        "_candidates",
        "_failures",
        "_large_losses",
        "_next_at",
        "_probing",
        "_sent_at",
        "ceiling",
        "size",
    )

    def __init__(self, size: int, ceiling: int) -> None:
        self.size = size
        """Bytes of UDP payload that the path is known to take."""
        self.ceiling = ceiling
        """The largest size worth probing for."""
        self._sent_at = 0.0
        self._large_losses = 0
        self._start_search(0.0)

    def _start_search(self, at: float) -> None:
        sizes = {self.ceiling, *(size for size in USUAL_SIZES if size < self.ceiling)}
        self._candidates = sorted(size for size in sizes if size > self.size)
        self._failures = 0
        self._probing = 0
        self._next_at = at

    def raise_ceiling(self, ceiling: int) -> None:
        """More is worth trying: the peer turned out to take larger packets than was assumed."""
        if ceiling > self.ceiling:
            self.ceiling = ceiling
            self._start_search(0.0)

    def probe_size(self, now: float, most: int) -> int:
        """The size, at most `most`, that the next packet should probe; 0 when none should."""
        if self.size >= self.ceiling:
            return 0
        if self._probing and now - self._sent_at >= PROBE_TIMEOUT:
            self.probe_lost(self._probing, now)
        if self._probing or now < self._next_at:
            return 0
        if not self._candidates:
            self._start_search(now)
        fitting = [size for size in self._candidates if size <= most]
        if not fitting:
            return 0
        return ETHERNET_SIZE if ETHERNET_SIZE in fitting else fitting[-1]

    def probe_sent(self, size: int, now: float) -> None:
        """A packet of that size is on its way; only one at a time."""
        self._probing = size
        self._sent_at = now

    def probe_acked(self, size: int, now: float) -> None:
        """A packet of that size arrived in one piece."""
        if size != self._probing:
            return  # it belongs to a search that was ended, perhaps to another path
        self._probing = 0
        self.size = size
        self._failures = 0
        self._candidates = [other for other in self._candidates if other > size]
        self._next_at = now if self._candidates else now + RAISE_INTERVAL

    def probe_lost(self, size: int, now: float) -> None:
        """That probe did not arrive; after a few failures the next smaller size gets its turn."""
        if size != self._probing:
            return
        self._probing = 0
        self._failures += 1
        self._next_at = now + RETRY_INTERVAL
        if self._failures >= (MAX_PROBES if size <= ETHERNET_SIZE else MAX_JUMBO_PROBES):
            self._failures = 0
            self._candidates = [other for other in self._candidates if other < size]
            self._next_at = now if self._candidates else now + RAISE_INTERVAL

    def large_acked(self) -> None:
        """A packet above the base size arrived."""
        self._large_losses = 0

    def large_lost_again(self, now: float) -> None:
        """A retransmission above the base size was lost."""
        self._large_losses += 1
        if self._large_losses >= MAX_LARGE_LOSSES:
            self.black_hole(now)

    def black_hole(self, now: float) -> None:
        """Large packets vanish although they once passed (RFC 8899 section 4.3): start small."""
        self._large_losses = 0
        if self.size > BASE_SIZE:
            self.size = BASE_SIZE
            self._start_search(now + RETRY_INTERVAL)

    def path_changed(self, size: int, now: float) -> None:
        """Another path: nothing that was found on the old one holds."""
        self.size = size
        self._start_search(now)
