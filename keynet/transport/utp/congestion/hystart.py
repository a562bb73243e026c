"""HyStart++ (RFC 9406): leave slow start when the round-trip time rises, before packets are lost.

It only watches; the algorithm that owns it moves the window.
"""

from __future__ import annotations

import math

MIN_RTT_THRESH = 0.004
MAX_RTT_THRESH = 0.016
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class HyStart:
    """Slow start's rounds and their smallest round-trip times (section 4.2)."""

    __slots__ = ("_baseline", "_css_rounds", "_current", "_last", "_round_at", "_samples")

    def __init__(self, now: float) -> None:
        self._round_at = now
        self._last = math.inf
        self._current = math.inf
        self._samples = 0
        self._baseline = math.inf
        self._css_rounds = 0

    @property
    def growth_divisor(self) -> int:
        """1 in slow start, 4 in conservative slow start."""
        return 1 if self._baseline == math.inf else CSS_GROWTH_DIVISOR

    def on_ack(self, now: float, sent_at: float, rtt: float | None) -> bool:
        """Take an acknowledgement; True when slow start should end now."""
        over = sent_at >= self._round_at and self._end_round(now)
        if rtt is not None:
            self._current = min(self._current, rtt)
            self._samples += 1
            if self._samples >= N_RTT_SAMPLE:
                self._judge()
        return over

    def _end_round(self, now: float) -> bool:
        self._round_at = now
        self._last, self._current, self._samples = self._current, math.inf, 0
        if self._baseline == math.inf:
            return False
        self._css_rounds += 1
        return self._css_rounds >= CSS_ROUNDS

    def _judge(self) -> None:
        if self._baseline != math.inf:
            if self._current < self._baseline:  # The rise was noise: back to slow start.
                self._baseline = math.inf
            return
        threshold = max(MIN_RTT_THRESH, min(self._last / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
        if self._current >= self._last + threshold:
            self._baseline = self._current
            self._css_rounds = 0
