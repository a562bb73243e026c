"""Round-trip estimation and the time-outs that follow from it (RFC 6298, RFC 8985 section 7)."""

from __future__ import annotations

GRANULARITY = 0.001
INITIAL_RTO = 1.0
MIN_RTO = 0.3
"""Below RFC 6298's second: tail-loss probes come first, and peers acknowledge at once."""
MAX_BACKOFF = 2.0
"""Seconds that back-off alone may grow the RTO to. RFC 6298 asks for 60 or more, for senders that
wait minutes; here silence ends a connection after 15 s, and a dark path deserves more tries."""
MAX_RTO = 8.0
MIN_PROBE_TIMEOUT = 0.01
REORDERING_FLOOR = 0.001
ACK_DELAY = 0.005
"""How long a peer may take to acknowledge: it batches its reads and lets its application run."""


class RttEstimator:
    """Smoothed round-trip time, its variation and its minimum, in seconds."""

    __slots__ = ("backoff", "latest", "minimum", "smoothed", "variation")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self.latest = 0.0
        self.minimum = float("inf")
        self.backoff = 0
        """How many retransmission time-outs expired in a row."""

    def update(self, sample: float) -> None:
        """Take one sample, never one from a retransmitted packet (Karn)."""
        self.latest = sample
        if sample < self.minimum:
            self.minimum = sample
        if self.smoothed is None:
            self.smoothed, self.variation = sample, sample / 2
            return
        self.variation += (abs(sample - self.smoothed) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8

    @property
    def retransmission_timeout(self) -> float:
        """The RTO with its exponential back-off (RFC 6298 section 5.5)."""
        if self.smoothed is None:
            base = INITIAL_RTO
        else:
            spread = 4 * self.variation
            base = self.smoothed + (spread if spread > GRANULARITY else GRANULARITY)
            if base < MIN_RTO:
                base = MIN_RTO
        if self.backoff:
            base = max(base, min(MAX_BACKOFF, base * (1 << min(self.backoff, 10))))
        return base if base < MAX_RTO else MAX_RTO

    @property
    def probe_timeout(self) -> float:
        """How long a silent tail waits for its probe (RFC 8985 section 7.2)."""
        if self.smoothed is None:
            return INITIAL_RTO
        timeout = 2 * self.smoothed + ACK_DELAY
        return timeout if timeout > MIN_PROBE_TIMEOUT else MIN_PROBE_TIMEOUT

    def reordering_window(self, steps: int) -> float:
        """How late a packet may be: `steps` quarters of the least round trip (RFC 8985 6.2)."""
        smoothed = self.smoothed or 0.0
        return min(
            max(smoothed, REORDERING_FLOOR),
            max(REORDERING_FLOOR, steps * min(self.minimum, smoothed) / 4),
        )
