"""CUBIC (RFC 9438) with HyStart++ (RFC 9406): loss-based, as most of the internet's traffic is.

Windows are bytes here; the RFC's formulas count segments, so C is scaled by the packet size.
"""

from __future__ import annotations

import math

from .api import Acked, Lost
from .hystart import HyStart
from .limits import MIN_WINDOW_PACKETS, SmoothedRtt, initial_window, paced

C = 0.4
BETA = 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)
SLOW_START_PACING = 2.0
AVOIDANCE_PACING = 1.25


class Cubic:
    """Grows along a cubic around the window of the last loss; one reduction per loss episode."""

    name = "cubic"

    __slots__ = (
        "_before",
        "_epoch_at",
        "_hystart",
        "_k",
        "_last_ack_at",
        "_prior_window",
        "_reduced_at",
        "_rtt",
        "_ssthresh",
        "_timed_out",
        "_w_est",
        "_w_max",
        "_window",
        "mss",
    )

    def __init__(self, mss: int, now: float) -> None:
        self._forget(now, mss)

    def _forget(self, now: float, mss: int) -> None:
        self.mss = mss
        self._window = float(initial_window(mss))
        self._ssthresh = math.inf
        self._rtt = SmoothedRtt()
        self._hystart = HyStart(now)
        self._w_max = self._w_est = self._prior_window = self._k = 0.0
        self._epoch_at: float | None = None
        self._reduced_at = -math.inf
        self._last_ack_at = now
        self._timed_out = False
        self._before: tuple[float, ...] | None = None

    @property
    def window(self) -> int:
        """Bytes that may be in flight; at least 2 * mss."""
        return max(int(self._window), MIN_WINDOW_PACKETS * self.mss)

    @property
    def pacing_rate(self) -> float:
        """Bytes per second: a window each round trip, and what the window grows by meanwhile."""
        rtt = self._rtt.value
        gain = SLOW_START_PACING if self._window < self._ssthresh else AVOIDANCE_PACING
        return paced(gain * self._window / rtt) if rtt else math.inf

    def on_send(self, now: float, size: int, in_flight: int, app_limited: bool) -> None:
        """Sending changes nothing: the window is judged when acknowledgements come."""

    def on_ack(self, acked: Acked) -> None:
        """Grow, unless the application or the peer's window was what held the sender back."""
        now = acked.now
        since_last, self._last_ack_at = now - self._last_ack_at, now
        self._timed_out = False
        if acked.rtt is not None:
            self._rtt.update(acked.rtt)
        slow_start = self._window < self._ssthresh
        if slow_start and self._hystart.on_ack(now, acked.sent_at, acked.rtt):
            self._ssthresh = self._window
            return
        if acked.sent_at <= self._reduced_at or not acked.newly_acked:
            return
        if not self._was_full(acked, slow_start):
            # The curve stands still while nobody tests the window (RFC 9438 section 5.8).
            if self._epoch_at is not None:
                self._epoch_at += since_last
        elif slow_start:
            grown = self._window + acked.newly_acked / self._hystart.growth_divisor
            self._window = min(grown, max(self._ssthresh, self._window))
        else:
            self._avoid(now, acked.newly_acked)

    def _was_full(self, acked: Acked, slow_start: bool) -> bool:
        # Pacing spreads a window over its round trip, so that a full one may look part empty.
        used = acked.in_flight + acked.newly_acked
        return acked.window_limited or used >= self._window * (0.5 if slow_start else 0.85)

    def _avoid(self, now: float, newly_acked: int) -> None:
        """Section 4.2 to 4.5: the cubic, or the Reno estimate where that is larger."""
        if self._epoch_at is None:
            self._begin_epoch(now)
        window = self._window
        assert self._epoch_at is not None
        t = now - self._epoch_at + self._rtt.value
        target = self._w_max + C * self.mss * (t - self._k) ** 3
        target = min(max(target, window), 1.5 * window)
        alpha = ALPHA if self._w_est < self._prior_window else 1.0
        self._w_est += alpha * self.mss * newly_acked / window
        grown = window + (target - window) * min(newly_acked / window, 1.0)
        self._window = max(grown, min(self._w_est, 1.5 * window))

    def _begin_epoch(self, now: float) -> None:
        """The first round of congestion avoidance: after a loss, a time-out or slow start."""
        self._epoch_at = now
        self._w_est = self._window
        if self._w_max > self._window:
            self._k = ((self._w_max - self._window) / (C * self.mss)) ** (1 / 3)
        else:  # Section 4.7 and 4.10: nothing to return to, so the curve starts here.
            self._k = 0.0
            self._w_max = self._prior_window = self._window

    def on_loss(self, lost: Lost) -> None:
        """Section 4.6; losses of what was sent before the last reduction belong to that one."""
        if lost.sent_at <= self._reduced_at:
            return
        self._remember()
        window = self._window
        # Fast convergence (section 4.7): leave room for the newcomer that took our share.
        self._w_max = window * (1 + BETA) / 2 if window < self._w_max else window
        self._prior_window = window
        self._window = max(window * BETA, float(MIN_WINDOW_PACKETS * self.mss))
        self._ssthresh = self._window
        self._epoch_at = None
        self._reduced_at = lost.now

    def on_timeout(self, now: float) -> None:
        """Section 4.8: slow start again, up to what the path last bore."""
        if not self._timed_out:
            self._remember()
            self._ssthresh = max(self._window * BETA, float(MIN_WINDOW_PACKETS * self.mss))
        self._timed_out = True
        self._window = float(MIN_WINDOW_PACKETS * self.mss)
        self._w_max = 0.0
        self._epoch_at = None
        self._reduced_at = now
        self._hystart = HyStart(now)

    def _remember(self) -> None:
        self._before = (self._window, self._ssthresh, self._w_max, self._prior_window)

    def on_spurious_loss(self, now: float) -> None:
        """Section 4.9: undo the last reduction, once."""
        if self._before is None:
            return
        window, self._ssthresh, self._w_max, self._prior_window = self._before
        self._window = max(window, self._window)
        self._before = None
        self._epoch_at = None
        self._reduced_at = -math.inf

    def on_path_changed(self, now: float, mss: int) -> None:
        """Another path: forget everything that was measured."""
        self._forget(now, mss)
