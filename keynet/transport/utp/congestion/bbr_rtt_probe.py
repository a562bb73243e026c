"""How BBR looks for the path's true round trip: draft-ietf-ccwg-bbr-06 section 5.3.4.

The course of one ProbeRTT: drain to half of what fills the path, hold it, and say when it is over.
"""

from __future__ import annotations

import math

from .api import Acked
from .bbr_model import PathModel

PROBE_RTT_DURATION = 0.2


class RttProbe:
    """When ProbeRTT began, when it may end, and which samples it spoilt."""

    __slots__ = ("_done_at", "_ended_at", "_model", "_round_done", "_started_at")

    def __init__(self, model: PathModel) -> None:
        self._model = model
        self._started_at, self._ended_at = math.inf, -math.inf
        self._done_at: float | None = None
        self._round_done = False

    def spoils(self, acked: Acked) -> bool:
        """The sample covers time when ProbeRTT held the sender back (MarkConnectionAppLimited)."""
        sent_at = acked.sent_at
        return self._started_at <= sent_at and sent_at - acked.interval <= self._ended_at

    def start(self, now: float) -> None:
        """Begin to drain."""
        self._started_at, self._ended_at = now, math.inf
        self._done_at = None

    def on_ack(self, now: float, drained: bool) -> bool:
        """Hold for 200 ms and a round trip once drained; True when it is over."""
        if self._done_at is None:
            if drained:
                self._done_at = now + PROBE_RTT_DURATION
                self._round_done = False
                self._model.start_round()
            return False
        self._round_done |= self._model.round_start
        return self._round_done and self.is_over(now)

    def is_over(self, now: float) -> bool:
        """It has been held for long enough; schedules the next one if so."""
        if self._done_at is None or now <= self._done_at:
            return False
        self._model.probe_rtt_at = self._ended_at = now
        return True
