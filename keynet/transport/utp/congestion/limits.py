"""The numbers that every algorithm keeps to: first window, smallest window, when pacing ends."""

from __future__ import annotations

import math

MIN_WINDOW_PACKETS = 2
WINDOW_ONLY_RATE = 400e6
"""Bytes per second above which sleeping between quanta costs more than it smooths."""


def initial_window(mss: int) -> int:
    """Bytes to begin with (RFC 6928 section 2): ten packets, within about 14 kB or two packets."""
    return min(10 * mss, max(2 * mss, 14720))


def paced(rate: float) -> float:
    """`rate` as a pacing rate: math.inf where the window alone should decide."""
    return rate if 0.0 < rate < WINDOW_ONLY_RATE else math.inf


class SmoothedRtt:
    """The smoothed round-trip time (RFC 6298 section 2), for turning a window into a rate."""

    __slots__ = ("latest", "value")

    def __init__(self) -> None:
        self.value = 0.0
        """Seconds; 0.0 before the first sample."""
        self.latest = 0.0

    def update(self, rtt: float) -> None:
        """Take one sample in seconds; a sample that is not above zero says nothing."""
        if rtt <= 0.0:
            return
        self.latest = rtt
        self.value = rtt if self.value == 0.0 else self.value + (rtt - self.value) / 8
