"""What BBR believes about the path: draft-ietf-ccwg-bbr-06 section 5.5.

Bandwidth, round-trip time, aggregation and the bounds that losses taught. It decides nothing:
the state machine in bbr.py reads it and tells it when a bound is forgotten or a cycle ends.
"""

from __future__ import annotations

import math

from .api import Acked, Lost

BETA = 0.7
LOSS_THRESH = 0.02
TOLERATED_LOSS = LOSS_THRESH
"""Losses up to here do not lower the short-term bounds. The draft lets them decay by the loss
rate each round, which at 1 % random loss costs a fifth of a 50 ms path between two probes."""
HEADROOM = 0.15
MIN_RTT_FILTER_LEN = 10.0
PROBE_RTT_INTERVAL = 5.0
EXTRA_ACKED_ROUNDS = 5
"""Half of the ten rounds of section 5.5.9: two halves are kept, the older is dropped."""
OFFLOAD_TIME = 0.003
"""Three send quanta of a millisecond each (sections 5.5.8.1 and 5.6.3)."""
SHORT_RTT = 0.002
"""Below this, scheduling on the two hosts takes longer than the path."""
SCHEDULING_DELAY = 0.008
"""Seconds of bandwidth kept in flight on short paths: both hosts' wake-ups, with room to spare."""
SCHEDULING_BYTES = 4 << 20
"""The most that scheduling delays may add: about what selective acknowledgements reach."""
MIN_PIPE_PACKETS = 4


class PathModel:
    """The model's parameters, named as in the draft; bytes, bytes per second and seconds."""

    __slots__ = (
        "_bw_before",
        "_bw_now",
        "_extra_at",
        "_extra_before",
        "_extra_now",
        "_extra_round",
        "_extra_sum",
        "_loss_round_delivered",
        "_round_delivered",
        "bdp",
        "bw",
        "bw_latest",
        "bw_shortterm",
        "delivered",
        "extra_acked",
        "inflight_latest",
        "inflight_longterm",
        "inflight_shortterm",
        "loss_events",
        "loss_in_round",
        "loss_round_start",
        "max_bw",
        "min_rtt",
        "min_rtt_at",
        "offload_budget",
        "path_rtt",
        "probe_rtt_at",
        "probe_rtt_delay",
        "probe_rtt_expired",
        "round_count",
        "round_start",
    )

    def __init__(self, now: float, initial: int) -> None:
        self.delivered = 0
        self.bdp = 0.0
        """Bytes in flight that fill the path without a queue; 0.0 before a round trip is known."""
        self.offload_budget = float(initial)
        """Bytes in flight that the hosts need, whatever the path is like."""
        self.round_count = 0
        self.round_start = False
        self._round_delivered = 0
        self.bw = self.max_bw = self._bw_before = self._bw_now = 0.0
        self.bw_shortterm = self.inflight_shortterm = self.inflight_longterm = math.inf
        self.bw_latest = 0.0
        self.inflight_latest = 0
        self.loss_in_round = self.loss_round_start = False
        self.loss_events = 0
        self._loss_round_delivered = 0
        self.extra_acked = self._extra_before = self._extra_now = 0.0
        self._extra_round = self._extra_sum = 0
        self._extra_at = now
        self.min_rtt = self.probe_rtt_delay = self.path_rtt = math.inf
        self.min_rtt_at = self.probe_rtt_at = now
        self.probe_rtt_expired = False

    def start_round(self) -> None:
        """Section 5.5.1: the round ends when something sent from now on is acknowledged."""
        self._round_delivered = self.delivered

    def on_ack(self, acked: Acked, app_limited: bool) -> None:
        """Sections 5.5.1, 5.5.5 and 5.5.10.3: rounds, bandwidth and the latest delivery."""
        self.delivered = acked.delivered
        prior = acked.prior_delivered
        self.round_start = prior >= self._round_delivered
        if self.round_start:
            self._round_delivered = acked.delivered
            self.round_count += 1
        rate = acked.delivery_rate
        if rate > self.bw_latest:
            self.bw_latest = rate
        if acked.delivered - prior > self.inflight_latest:
            self.inflight_latest = acked.delivered - prior
        if rate > self._bw_now and (rate >= self.max_bw or not app_limited):
            self._bw_now = rate
            self.max_bw = rate if rate > self._bw_before else self._bw_before
        self.loss_round_start = prior >= self._loss_round_delivered
        if self.loss_round_start:
            self._loss_round_delivered = acked.delivered

    def advance_max_bw_filter(self) -> None:
        """Section 5.5.6: a cycle has ended; without any sample the older one still counts."""
        if self._bw_now > 0.0:
            self._bw_before, self._bw_now = self._bw_now, 0.0
            self.max_bw = self._bw_before

    def note_loss(self) -> bool:
        """Count a loss; True for the first one of a round."""
        first = not self.loss_in_round
        if first:
            self._loss_round_delivered = self.delivered
            self.loss_in_round = True
        self.loss_events += 1
        return first

    def adapt_lower_bounds(self, window: float, sent_share: float) -> None:
        """Section 5.5.10.3: after a round with losses, slow down to what was delivered.

        `sent_share` is what part of the bounds was sent at all; a path is not blamed for the
        rest, nor for the loss rate that it may have (see TOLERATED_LOSS).
        """
        if self.bw_shortterm == math.inf:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == math.inf:
            self.inflight_shortterm = window
        fair = 1.0 / (sent_share * (1.0 - TOLERATED_LOSS))
        bw, volume = self.bw_shortterm, self.inflight_shortterm
        self.bw_shortterm = min(bw, max(self.bw_latest * fair, BETA * bw))
        self.inflight_shortterm = min(volume, max(self.inflight_latest * fair, BETA * volume))

    def reset_shortterm(self) -> None:
        """Forget the short-term bounds, before bandwidth is probed."""
        self.bw_shortterm = self.inflight_shortterm = math.inf

    def reset_congestion_signals(self) -> None:
        """Forget what this round delivered and lost."""
        self.loss_in_round = False
        self.bw_latest = 0.0
        self.inflight_latest = 0

    def end_loss_round(self, acked: Acked) -> None:
        """Begin to watch losses and deliveries anew (AdvanceLatestDeliverySignals)."""
        self.loss_in_round = False
        self.loss_events = 0
        self.bw_latest = acked.delivery_rate
        self.inflight_latest = acked.delivered - acked.prior_delivered

    def restart_aggregation(self, now: float) -> None:
        """Section 5.4.1: the silence before a restart from idle was no aggregation."""
        self._extra_at = now
        self._extra_sum = 0

    def update_aggregation(self, acked: Acked, window: float, startup: bool) -> None:
        """Section 5.5.9: how much more is acknowledged at once than the bandwidth explains."""
        now = acked.now
        expected = self.bw * (now - self._extra_at)
        if self._extra_sum <= expected:
            self._extra_sum = 0
            self._extra_at = now
            expected = 0.0
        self._extra_sum += acked.newly_acked
        if self.round_count - self._extra_round >= (1 if startup else EXTRA_ACKED_ROUNDS):
            self._extra_round = self.round_count
            self._extra_before, self._extra_now = self._extra_now, 0.0
            self.extra_acked = self._extra_before
        extra = min(self._extra_sum - expected, window)
        if extra > self._extra_now:
            self._extra_now = extra
            if extra > self.extra_acked:
                self.extra_acked = extra

    def update_min_rtt(self, now: float, rtt: float | None) -> None:
        """Section 5.3.4.3: a short filter that schedules ProbeRTT, within a long one."""
        self.probe_rtt_expired = now > self.probe_rtt_at + PROBE_RTT_INTERVAL
        if rtt is not None and rtt > 0.0 and (rtt < self.probe_rtt_delay or self.probe_rtt_expired):
            self.probe_rtt_delay = rtt
            self.probe_rtt_at = now
            if rtt < self.path_rtt:
                self.path_rtt = rtt
        if self.probe_rtt_delay < self.min_rtt or now > self.min_rtt_at + MIN_RTT_FILTER_LEN:
            self.min_rtt = self.probe_rtt_delay
            self.min_rtt_at = self.probe_rtt_at

    def settle(self, mss: int) -> None:
        """Section 5.5.10.3's BoundBWForModel, and what follows from the bandwidth (5.5.8)."""
        bw = self.bw = self.max_bw if self.max_bw < self.bw_shortterm else self.bw_shortterm
        if self.min_rtt == math.inf:
            return
        self.bdp = bw * self.min_rtt
        budget = bw * OFFLOAD_TIME
        if self.path_rtt < SHORT_RTT:
            budget = bw * SCHEDULING_DELAY
            if budget > SCHEDULING_BYTES:
                budget = max(SCHEDULING_BYTES, bw * OFFLOAD_TIME)
        floor = MIN_PIPE_PACKETS * mss
        self.offload_budget = budget if budget > floor else floor

    def inflight(self, gain: float) -> float:
        """Section 5.6.4.2: what fills the path `gain` times, and the hosts."""
        volume = gain * self.bdp
        return volume if volume > self.offload_budget else self.offload_budget

    def inflight_with_headroom(self, mss: int) -> float:
        """Section 5.3.3.9: what leaves room for others below the long-term bound."""
        bound = self.inflight_longterm
        return bound - max(mss, HEADROOM * bound) if bound < math.inf else bound


def is_too_high(lost: float, tx_in_flight: float) -> bool:
    """Section 5.5.10.2: more was lost than a path at its limit may lose."""
    return lost > tx_in_flight * LOSS_THRESH


def inflight_at_loss(lost: Lost) -> float:
    """Section 5.5.10.2: the volume in flight at which losses crossed the threshold."""
    before = max(lost.tx_in_flight - lost.bytes, 0)
    lost_before = max(lost.lost_since_sent - lost.bytes, 0)
    return before + max(LOSS_THRESH * before - lost_before, 0.0) / (1 - LOSS_THRESH)
