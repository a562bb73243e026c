"""BBR, the default: version 3, draft-ietf-ccwg-bbr-06. Sections named here are the draft's.

The state machine and the two numbers that it sets; what it knows of the path is in bbr_model.py.
Where it departs from the draft: paths with a very short round trip get a window that covers the
hosts' scheduling delays instead of the path's (`_max_inflight`), and above gigabit speed they are
not paced at all, because a sleeping sender costs more there than the queue that it avoids.
"""

from __future__ import annotations

import enum
import math
from random import Random
from typing import NamedTuple

from .api import Acked, Lost
from .bbr_model import BETA, SHORT_RTT, PathModel, inflight_at_loss, is_too_high
from .limits import MIN_WINDOW_PACKETS, initial_window, paced

PACING_MARGIN = 0.99
FULL_BW_GROWTH = 1.25
FULL_BW_ROUNDS = 3
STARTUP_LOSS_EVENTS = 6
DRAIN_ROUNDS = 3
RENO_ROUNDS = 63
MAX_RAISE_ROUNDS = 30
FEEDBACK_ROUNDS = 2
"""Rounds after a change of tactic in which deliveries still tell of the one before."""
PROBE_RTT_DURATION = 0.2
MIN_PIPE_PACKETS = 4
NOMINAL_RTT = 0.001
OFFLOAD_TIME = 0.003
"""Three send quanta of a millisecond each (sections 5.5.8.1 and 5.6.3)."""
SCHEDULING_DELAY = 0.008
"""Seconds of bandwidth kept in flight on short paths: both hosts' wake-ups, with room to spare."""
SCHEDULING_BYTES = 4 << 20
"""The most that scheduling delays may add: about what selective acknowledgements reach."""
UNPACED_SHORT_RATE = 125e6


class State(enum.Enum):
    """Section 5.3."""

    STARTUP = enum.auto()
    DRAIN = enum.auto()
    DOWN = enum.auto()
    CRUISE = enum.auto()
    REFILL = enum.auto()
    UP = enum.auto()
    PROBE_RTT = enum.auto()


STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT = State


class Tactic(NamedTuple):
    """A row of the table in section 5.6.1."""

    pacing_gain: float
    window_gain: float
    in_probe_bw: bool
    accelerates: bool


TACTICS = {
    STARTUP: Tactic(2.77, 2.0, False, True),
    DRAIN: Tactic(0.5, 2.0, False, False),
    DOWN: Tactic(0.9, 2.0, True, False),
    CRUISE: Tactic(1.0, 2.0, True, False),
    REFILL: Tactic(1.0, 2.0, True, True),
    UP: Tactic(1.25, 2.25, True, True),
    PROBE_RTT: Tactic(1.0, 0.5, False, False),
}


class AckPhase(enum.Enum):
    """What the acknowledgements arriving now say about the last bandwidth probe."""

    INIT = enum.auto()
    REFILLING = enum.auto()
    PROBE_STARTING = enum.auto()
    PROBE_FEEDBACK = enum.auto()
    PROBE_STOPPING = enum.auto()


class Bbr:
    """Paces at the measured bandwidth and bounds what is in flight by the measured path."""

    name = "bbr"

    __slots__ = (
        "_ack_phase",
        "_cwnd",
        "_drain_round",
        "_full_bw",
        "_full_bw_count",
        "_full_bw_now",
        "_full_bw_reached",
        "_gain_before",
        "_has_rtt",
        "_idle_restart",
        "_initial",
        "_model",
        "_phase_at",
        "_pre_precautionary",
        "_prior_cwnd",
        "_probe_rtt_done_at",
        "_probe_rtt_ended_at",
        "_probe_rtt_round_done",
        "_probe_rtt_started_at",
        "_probe_sample",
        "_probe_too_high",
        "_probe_wait",
        "_random",
        "_rate",
        "_recovery_mark",
        "_round_entered",
        "_rounds_since_probe",
        "_state",
        "_tactic",
        "_timeout_at",
        "_undo",
        "_undo_state",
        "_up_acked",
        "_up_per_packet",
        "_up_rounds",
        "mss",
    )

    def __init__(self, mss: int, now: float, random: Random) -> None:
        self._random = random
        self._forget(now, mss)

    def _forget(self, now: float, mss: int) -> None:
        self.mss = mss
        self._model = PathModel(now)
        self._initial = initial_window(mss)
        self._cwnd = self._prior_cwnd = float(self._initial)
        self._has_rtt = self._idle_restart = False
        self._full_bw_reached = False
        self._ack_phase = AckPhase.INIT
        self._probe_sample = self._probe_too_high = self._pre_precautionary = False
        self._probe_rtt_done_at: float | None = None
        self._probe_rtt_round_done = False
        self._probe_rtt_started_at, self._probe_rtt_ended_at = math.inf, -math.inf
        self._phase_at, self._probe_wait = now, 0.0
        self._drain_round = self._rounds_since_probe = 0
        self._up_rounds, self._up_acked, self._up_per_packet = 0, 0, math.inf
        self._timeout_at: float | None = None
        self._recovery_mark: int | None = None
        self._undo: tuple[float, float, float] | None = None
        self._undo_state: State | None = None
        self._reset_full_bw(0.0)
        self._tactic = TACTICS[STARTUP]
        self._enter(STARTUP)
        self._rate = self._tactic.pacing_gain * self._initial / NOMINAL_RTT

    @property
    def state(self) -> State:
        """Where the state machine stands; for statistics and tests."""
        return self._state

    @property
    def model(self) -> PathModel:
        """What is believed about the path; for statistics and tests."""
        return self._model

    @property
    def window(self) -> int:
        """Bytes that may be in flight; at least 2 * mss."""
        return max(int(self._cwnd), MIN_WINDOW_PACKETS * self.mss)

    @property
    def pacing_rate(self) -> float:
        """Bytes per second; math.inf when the window alone decides."""
        rate = self._rate
        if rate >= UNPACED_SHORT_RATE:
            model = self._model
            unharmed = model.inflight_longterm == model.bw_shortterm == math.inf
            if unharmed and model.path_rtt < SHORT_RTT:
                return math.inf
        return paced(rate)

    # What the sender tells.

    def on_send(self, now: float, size: int, in_flight: int, app_limited: bool) -> None:
        """Section 5.4: a restart from idle resumes at the measured bandwidth."""
        if in_flight or not app_limited:
            return
        self._idle_restart = True
        self._model.restart_aggregation(now)
        if self._tactic.in_probe_bw:
            self._set_rate(1.0)
        elif self._state is PROBE_RTT:
            self._leave_probe_rtt_if_done(now)

    def on_ack(self, acked: Acked) -> None:
        """Section 5.2.3: update the model, let the state machine move, set rate and window."""
        model = self._model
        sent_at = acked.sent_at
        app_limited = acked.app_limited or (
            # What ProbeRTT held back says nothing of the path (MarkConnectionAppLimited).
            self._probe_rtt_started_at <= sent_at
            and sent_at - acked.interval <= self._probe_rtt_ended_at
        )
        model.on_ack(acked, app_limited)
        if not self._has_rtt and acked.rtt:
            self._first_rtt(acked.rtt)
        if self._timeout_at is not None:
            self._recover(acked)
        loss_round_start = model.loss_round_start
        if loss_round_start:
            self._judge_losses(acked, app_limited)
        model.update_aggregation(acked, self._cwnd, not self._full_bw_reached)
        if model.round_start:
            self._rounds_since_probe += 1
            if not (self._full_bw_now or app_limited) and acked.delivery_rate > 0.0:
                self._check_full_bw(acked.delivery_rate)
        if self._full_bw_reached:
            self._advance(acked, app_limited)
        model.update_min_rtt(acked.now, acked.rtt)
        if model.probe_rtt_expired or self._state is PROBE_RTT:
            self._check_probe_rtt(acked)
        self._idle_restart = False
        if loss_round_start:
            model.end_loss_round(acked)
        model.bw = min(model.max_bw, model.bw_shortterm)
        self._set_rate(self._tactic.pacing_gain)
        self._set_window(acked.newly_acked)

    def on_loss(self, lost: Lost) -> None:
        """Section 5.5.10.2: while bandwidth is probed, too many losses end the probe at once."""
        if self._model.note_loss():
            self._save()
        if not self._probe_sample:
            return
        if is_too_high(lost.lost_since_sent, lost.tx_in_flight):
            self._handle_too_high(inflight_at_loss(lost), lost.app_limited, lost.now)

    def on_timeout(self, now: float) -> None:
        """Section 5.6.4.4: almost stop, then grow with what is delivered and restore."""
        if self._model.note_loss():
            self._save()
        if self._timeout_at is None:
            self._prior_cwnd = max(self._prior_cwnd, self._cwnd)
        self._timeout_at = now
        self._recovery_mark = None
        self._cwnd = float(MIN_WINDOW_PACKETS * self.mss)

    def on_spurious_loss(self, now: float) -> None:
        """Section 5.5.11.2: take back what the losses did, and resume the probe they ended."""
        self._timeout_at = None
        self._restore()
        model = self._model
        model.loss_in_round = False
        self._reset_full_bw(0.0)
        if self._undo is not None:
            bw, shortterm, longterm = self._undo
            model.bw_shortterm = max(model.bw_shortterm, bw)
            model.inflight_shortterm = max(model.inflight_shortterm, shortterm)
            model.inflight_longterm = max(model.inflight_longterm, longterm)
        state, self._undo_state = self._undo_state, None
        if state is STARTUP:
            self._full_bw_reached = False
        if state is None or self._state in (state, PROBE_RTT):
            return
        if state is STARTUP:
            self._enter(STARTUP)
        else:
            self._start_refill()

    def on_path_changed(self, now: float, mss: int) -> None:
        """Another path: forget everything that was measured."""
        self._forget(now, mss)

    # Start-up and drain.

    def _enter(self, state: State) -> None:
        self._gain_before = self._tactic.pacing_gain
        self._round_entered = self._model.round_count
        self._state = state
        self._tactic = TACTICS[state]

    def _sent_share(self) -> float:
        """What part of the bandwidth was sent in the round that is judged now, or before it."""
        gain = min(self._tactic.pacing_gain, 1.0)
        recent = self._model.round_count <= self._round_entered + FEEDBACK_ROUNDS
        return min(gain, self._gain_before) if recent else gain

    def _first_rtt(self, rtt: float) -> None:
        """Section 5.6.2: the initial window over the first round trip."""
        self._has_rtt = True
        self._rate = self._tactic.pacing_gain * self._initial / rtt

    def _reset_full_bw(self, rate: float) -> None:
        self._full_bw = rate
        self._full_bw_count = 0
        self._full_bw_now = False

    def _check_full_bw(self, rate: float) -> None:
        """Section 5.3.1.2: three rounds that brought no more mean that the pipe is full."""
        if rate >= self._full_bw * FULL_BW_GROWTH:
            self._reset_full_bw(rate)
            return
        self._full_bw_count += 1
        if self._full_bw_count >= FULL_BW_ROUNDS:
            self._full_bw_now = self._full_bw_reached = True

    def _judge_losses(self, acked: Acked, app_limited: bool) -> None:
        """Once per round: sections 5.3.1.3 in Startup, 5.5.10.3 when not probing."""
        model = self._model
        if not model.loss_in_round:
            return
        too_high = is_too_high(acked.lost, acked.tx_in_flight)
        if not self._tactic.accelerates:
            if too_high or not app_limited:
                model.adapt_lower_bounds(self._cwnd, PACING_MARGIN * self._sent_share())
        elif too_high and self._state is STARTUP and model.loss_events >= STARTUP_LOSS_EVENTS:
            self._undo_state = STARTUP
            self._full_bw_reached = True
            model.inflight_longterm = max(model.bdp, model.inflight_latest)

    def _advance(self, acked: Acked, app_limited: bool) -> None:
        state = self._state
        if state is STARTUP:
            self._enter(DRAIN)
            self._drain_round = self._model.round_count
        if self._state is DRAIN and (
            acked.in_flight <= self._inflight(1.0)
            or self._model.round_count > self._drain_round + DRAIN_ROUNDS
        ):
            self._start_down(acked.now)
        self._advance_probe_bw(acked, app_limited)

    # Bandwidth probing: section 5.3.3.

    def _start_down(self, now: float) -> None:
        self._model.reset_congestion_signals()
        self._up_per_packet = math.inf
        self._rounds_since_probe = self._random.randint(0, 1)
        self._probe_wait = 2.0 + self._random.random()
        self._phase_at = now
        self._ack_phase = AckPhase.PROBE_STOPPING
        self._model.start_round()
        self._enter(DOWN)

    def _start_refill(self) -> None:
        self._model.reset_shortterm()
        self._up_rounds = self._up_acked = 0
        self._pre_precautionary = False
        self._ack_phase = AckPhase.REFILLING
        self._model.start_round()
        self._enter(REFILL)

    def _start_up(self, acked: Acked) -> None:
        self._probe_sample = True
        self._ack_phase = AckPhase.PROBE_STARTING
        self._model.start_round()
        self._reset_full_bw(acked.delivery_rate)
        self._enter(UP)
        self._raise_slope()

    def _advance_probe_bw(self, acked: Acked, app_limited: bool) -> None:
        if self._adapt_longterm(acked, app_limited):
            return
        state = self._state
        if state is CRUISE or state is DOWN:
            if self._is_time_to_probe(acked.now):
                self._start_refill()
            elif state is DOWN and self._is_time_to_cruise(acked.in_flight):
                self._enter(CRUISE)
        elif state is UP:
            if self._is_time_to_go_down(acked):
                self._probe_too_high = False
                self._start_down(acked.now)
        elif state is REFILL and self._model.round_start:
            self._start_up(acked)

    def _is_time_to_probe(self, now: float) -> bool:
        """Section 5.3.3.8: two to three seconds, or as often as Reno would recover."""
        if now > self._phase_at + self._probe_wait:
            return True
        target = min(self._model.bdp, self._cwnd) / self.mss
        return self._rounds_since_probe >= max(min(target, RENO_ROUNDS), 1)

    def _is_time_to_cruise(self, in_flight: int) -> bool:
        if in_flight > self._with_headroom():
            return False
        return in_flight <= self._inflight(1.0)

    def _is_time_to_go_down(self, acked: Acked) -> bool:
        """Section 5.3.3.7, with the precaution of 5.3.3.6."""
        longterm = self._model.inflight_longterm
        if self._probe_too_high and acked.in_flight >= longterm:
            self._pre_precautionary = True
            return True
        if acked.window_limited and self._cwnd >= longterm:
            self._reset_full_bw(acked.delivery_rate)
            return False
        return self._full_bw_now

    def _adapt_longterm(self, acked: Acked, app_limited: bool) -> bool:
        """Section 5.3.3.9, AdaptLongTermModel; True when it has moved the state machine."""
        model = self._model
        if model.round_start:
            if self._ack_phase is AckPhase.PROBE_STARTING:
                self._ack_phase = AckPhase.PROBE_FEEDBACK
            elif self._ack_phase is AckPhase.PROBE_STOPPING and self._end_probe(app_limited):
                return True
        longterm = model.inflight_longterm
        if longterm < math.inf and not is_too_high(acked.lost, acked.tx_in_flight):
            if acked.tx_in_flight > longterm:
                model.inflight_longterm = acked.tx_in_flight
            if self._state is UP:
                self._raise_longterm(acked)
        return False

    def _end_probe(self, app_limited: bool) -> bool:
        """A round after UP: the cycle's bandwidth is known; go on probing if it was too short."""
        self._probe_sample = False
        self._ack_phase = AckPhase.INIT
        if not self._tactic.in_probe_bw:
            return False
        if not app_limited:
            self._model.advance_max_bw_filter()
        if self._pre_precautionary and not self._probe_too_high:
            self._start_refill()
            return True
        return False

    def _raise_slope(self) -> None:
        growth = 1 << self._up_rounds
        self._up_rounds = min(self._up_rounds + 1, MAX_RAISE_ROUNDS)
        self._up_per_packet = max(self._cwnd / growth, self.mss)

    def _raise_longterm(self, acked: Acked) -> None:
        model = self._model
        if not acked.window_limited or self._cwnd < model.inflight_longterm:
            return
        self._up_acked += acked.newly_acked
        if self._up_acked >= self._up_per_packet:
            packets = int(self._up_acked / self._up_per_packet)
            self._up_acked -= int(packets * self._up_per_packet)
            model.inflight_longterm += packets * self.mss
        if model.round_start:
            self._raise_slope()

    def _handle_too_high(self, in_flight: float, app_limited: bool, now: float) -> None:
        """Section 5.5.10.2: this much in flight was more than the path bears."""
        self._probe_too_high = True
        self._probe_sample = False
        if not app_limited:
            target = min(self._model.bdp, self._cwnd)
            self._model.inflight_longterm = max(in_flight, BETA * target)
        if self._state is UP:
            self._undo_state = UP
            self._start_down(now)

    # Round-trip probing: section 5.3.4.

    def _check_probe_rtt(self, acked: Acked) -> None:
        model = self._model
        now = acked.now
        if self._state is not PROBE_RTT:
            if self._idle_restart or self._offload_budget() >= 2.0 * model.bdp:
                return  # Where hosts, not the path, set the window, its exact length is moot.
            self._save_cwnd()
            self._enter(PROBE_RTT)
            self._probe_rtt_done_at = None
            self._ack_phase = AckPhase.PROBE_STOPPING
            self._probe_rtt_started_at, self._probe_rtt_ended_at = now, math.inf
            model.start_round()
        if self._probe_rtt_done_at is None:
            if acked.in_flight <= self._probe_rtt_window():
                self._probe_rtt_done_at = now + PROBE_RTT_DURATION
                self._probe_rtt_round_done = False
                model.start_round()
            return
        if model.round_start:
            self._probe_rtt_round_done = True
        if self._probe_rtt_round_done:
            self._leave_probe_rtt_if_done(now)

    def _probe_rtt_window(self) -> float:
        return max(self._tactic.window_gain * self._model.bdp, MIN_PIPE_PACKETS * self.mss)

    def _leave_probe_rtt_if_done(self, now: float) -> None:
        if self._probe_rtt_done_at is None or now <= self._probe_rtt_done_at:
            return
        self._model.probe_rtt_at = self._probe_rtt_ended_at = now
        self._restore()
        self._model.reset_shortterm()
        if self._full_bw_reached:
            self._start_down(now)
            self._enter(CRUISE)
        else:
            self._enter(STARTUP)

    # Rate and window: section 5.6.

    def _set_rate(self, gain: float) -> None:
        rate = gain * PACING_MARGIN * self._model.bw
        if rate > self._rate or (self._full_bw_reached and rate > 0.0):
            self._rate = rate

    def _offload_budget(self) -> float:
        """Section 5.5.8, and on short paths what the hosts' scheduling delays amount to."""
        bw = self._model.bw
        budget = OFFLOAD_TIME * bw
        if self._model.path_rtt < SHORT_RTT:
            budget = max(budget, min(SCHEDULING_DELAY * bw, SCHEDULING_BYTES))
        return max(budget, MIN_PIPE_PACKETS * self.mss)

    def _inflight(self, gain: float) -> float:
        model = self._model
        if model.min_rtt == math.inf:
            return self._initial
        return max(gain * model.bdp, self._offload_budget())

    def _set_window(self, newly_acked: int) -> None:
        """Sections 5.6.4.2 to 5.6.4.7."""
        model = self._model
        gain = self._tactic.window_gain
        target = max(gain * model.bdp + model.extra_acked, self._inflight(gain))
        state = self._state
        if state is UP:
            target += 2 * self.mss
        cwnd = self._cwnd
        if self._full_bw_reached:
            cwnd = min(cwnd + newly_acked, target)
        elif cwnd < target or model.delivered < self._initial:
            cwnd += newly_acked
        bound = model.inflight_shortterm
        if state is PROBE_RTT:
            bound = min(bound, self._with_headroom(), self._probe_rtt_window())
        elif state is CRUISE:
            bound = min(bound, self._with_headroom())
        elif self._tactic.in_probe_bw:
            bound = min(bound, model.inflight_longterm)
        self._cwnd = max(min(cwnd, bound), MIN_PIPE_PACKETS * self.mss)

    def _with_headroom(self) -> float:
        return self._model.inflight_with_headroom(self.mss)

    # Recovery and undo.

    def _save(self) -> None:
        self._save_cwnd()
        model = self._model
        self._undo = (model.bw_shortterm, model.inflight_shortterm, model.inflight_longterm)
        self._undo_state = None

    def _save_cwnd(self) -> None:
        recovering = self._timeout_at is not None or self._state is PROBE_RTT
        self._prior_cwnd = max(self._prior_cwnd, self._cwnd) if recovering else self._cwnd

    def _restore(self) -> None:
        self._cwnd = max(self._cwnd, self._prior_cwnd)

    def _recover(self, acked: Acked) -> None:
        """A whole round of what was sent after the time-out has arrived: the path is back."""
        if self._timeout_at is None or acked.sent_at < self._timeout_at:
            return
        if self._recovery_mark is None:
            self._recovery_mark = acked.delivered
        elif acked.prior_delivered >= self._recovery_mark:
            self._timeout_at = None
            self._restore()
