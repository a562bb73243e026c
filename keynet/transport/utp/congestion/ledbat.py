"""LEDBAT (RFC 6817) as BEP 29 has it: traffic that yields to everything else on the link.

It keeps the queueing delay near 100 ms by the one-way delays that uTP's timestamps give, grows by
at most 3000 bytes a round trip, and begins with slow start until delay or loss says otherwise.
"""

from __future__ import annotations

import math
from collections import deque

from .api import Acked, Lost
from .limits import MIN_WINDOW_PACKETS, SmoothedRtt, initial_window, paced

TARGET = 0.1
MAX_INCREASE_PER_RTT = 3000
MAX_OFF_TARGET = -4.0
"""A queue that others built takes at most this many increases off per round trip."""
SLOW_START_DELAY = 0.5 * TARGET
BASE_HISTORY = 10
CURRENT_FILTER = 4
MINUTE = 60.0
WRAP = 2.0**32 / 1e6
"""Seconds after which uTP's microsecond timestamps begin again."""
SLOW_START_PACING = 2.0
AVOIDANCE_PACING = 1.25


class QueueDelay:
    """The queueing delay: the smallest of the latest delays over the base of ten minutes.

    RFC 6817 sections 2.4.2 and 3.4.2. Clocks are not in step, so that only differences count.
    """

    __slots__ = ("_bases", "_current", "_minute_at", "_origin")

    def __init__(self) -> None:
        self._bases: deque[float] = deque(maxlen=BASE_HISTORY)
        self._current: deque[float] = deque(maxlen=CURRENT_FILTER)
        self._minute_at = 0.0
        self._origin: float | None = None

    def update(self, now: float, delay: float) -> float:
        """Take a one-way delay in seconds, on whatever clock; give the queueing delay."""
        if self._origin is None:
            self._origin = delay
        sample = (delay - self._origin + WRAP / 2) % WRAP - WRAP / 2
        bases = self._bases
        if not bases or now - self._minute_at >= MINUTE:
            self._minute_at = now
            bases.append(sample)
        elif sample < bases[-1]:
            bases[-1] = sample
        self._current.append(sample)
        return max(min(self._current) - min(bases), 0.0)


class Ledbat:
    """A window that follows the distance of the queueing delay from its target."""

    name = "ledbat"

    __slots__ = (
        "_before",
        "_by_rtt",
        "_delay",
        "_reduced_at",
        "_rtt",
        "_slow_start",
        "_ssthresh",
        "_window",
        "mss",
    )

    def __init__(self, mss: int, now: float) -> None:
        self._forget(mss)

    def _forget(self, mss: int) -> None:
        self.mss = mss
        self._window = float(initial_window(mss))
        self._ssthresh = math.inf
        self._slow_start = True
        self._rtt = SmoothedRtt()
        self._delay = QueueDelay()
        self._by_rtt = True
        self._reduced_at = -math.inf
        self._before: tuple[float, bool] | None = None

    @property
    def window(self) -> int:
        """Bytes that may be in flight; at least 2 * mss."""
        return max(int(self._window), MIN_WINDOW_PACKETS * self.mss)

    @property
    def pacing_rate(self) -> float:
        """Bytes per second: somewhat more than a window each round trip."""
        rtt = self._rtt.value
        gain = SLOW_START_PACING if self._slow_start else AVOIDANCE_PACING
        return paced(gain * self._window / rtt) if rtt else math.inf

    def on_send(self, now: float, size: int, in_flight: int, app_limited: bool) -> None:
        """Sending changes nothing: the window is judged when acknowledgements come."""

    def on_ack(self, acked: Acked) -> None:
        """RFC 6817 section 2.4.2; growth only while the window is what holds the sender back."""
        if acked.rtt is not None:
            self._rtt.update(acked.rtt)
        queued = self._queue_delay(acked)
        if not acked.newly_acked or queued is None:
            return
        full = acked.window_limited or acked.in_flight + acked.newly_acked >= 0.85 * self._window
        if self._slow_start:
            self._grow_fast(acked, queued)
            return
        off_target = max((TARGET - queued) / TARGET, MAX_OFF_TARGET)
        if off_target > 0.0 and not full:
            return
        share = min(acked.newly_acked / self._window, 1.0)
        window = self._window + MAX_INCREASE_PER_RTT * off_target * share
        self._window = max(window, float(MIN_WINDOW_PACKETS * self.mss))

    def _queue_delay(self, acked: Acked) -> float | None:
        """The peer's samples; the round trip's where the peer sends none (BEP 29 allows zero)."""
        if acked.delay is not None:
            if self._by_rtt:
                self._by_rtt, self._delay = False, QueueDelay()
            return self._delay.update(acked.now, acked.delay)
        if self._by_rtt and acked.rtt is not None:
            return self._delay.update(acked.now, acked.rtt)
        return 0.0 if self._slow_start else None

    def _grow_fast(self, acked: Acked, queued: float) -> None:
        if queued > SLOW_START_DELAY:
            # This delay is a round trip old, and the window has doubled since.
            self._window = max(self._window / 2, float(MIN_WINDOW_PACKETS * self.mss))
            self._slow_start = False
        elif self._window >= self._ssthresh:
            self._slow_start = False
        elif acked.window_limited or acked.in_flight + acked.newly_acked >= 0.5 * self._window:
            self._window = min(self._window + acked.newly_acked, self._ssthresh)

    def on_loss(self, lost: Lost) -> None:
        """Halve, once per round trip (section 2.4.2)."""
        if lost.sent_at <= self._reduced_at:
            return
        self._before = (self._window, self._slow_start)
        self._window = max(self._window / 2, float(MIN_WINDOW_PACKETS * self.mss))
        self._ssthresh = self._window
        self._slow_start = False
        self._reduced_at = lost.now

    def on_timeout(self, now: float) -> None:
        """Section 2.4.3's congestion time-out: begin again, up to half of what was."""
        if self._window > MIN_WINDOW_PACKETS * self.mss:
            self._before = (self._window, self._slow_start)
            self._ssthresh = max(self._window / 2, float(MIN_WINDOW_PACKETS * self.mss))
        self._window = float(MIN_WINDOW_PACKETS * self.mss)
        self._slow_start = True
        self._reduced_at = now

    def on_spurious_loss(self, now: float) -> None:
        """Undo the last reduction, once."""
        if self._before is None:
            return
        window, self._slow_start = self._before
        self._window = max(window, self._window)
        self._ssthresh = math.inf
        self._before = None

    def on_path_changed(self, now: float, mss: int) -> None:
        """Another path: forget everything that was measured."""
        self._forget(mss)
