"""BBR, the default: version 3, draft-ietf-ccwg-bbr-06. Sections named here are the draft's.

The state machine and the two numbers that it sets; what it knows of the path is in bbr_model.py.
Where it departs from the draft: paths with a very short round trip get a window that covers the
hosts' scheduling delays instead of the path's (`PathModel.settle`), and above gigabit speed they
are not paced at all, because a sleeping sender costs more there than the queue that it avoids.
"""

from __future__ import annotations

import math
from random import Random

from .api import Acked, Lost
from .bbr_model import MIN_PIPE_PACKETS, SHORT_RTT, PathModel, inflight_at_loss, is_too_high
from .bbr_probe import BandwidthProbe, FullPipe
from .bbr_rtt_probe import RttProbe
from .bbr_states import CRUISE, DOWN, DRAIN, PROBE_RTT, REFILL, STARTUP, TACTICS, UP, State
from .limits import MIN_WINDOW_PACKETS, initial_window, paced

PACING_MARGIN = 0.99
STARTUP_LOSS_EVENTS = 6
DRAIN_ROUNDS = 3
FEEDBACK_ROUNDS = 2
"""Rounds after a change of tactic in which deliveries still tell of the one before."""
NOMINAL_RTT = 0.001
UNPACED_SHORT_RATE = 125e6


class Bbr:
    """Paces at the measured bandwidth and bounds what is in flight by the measured path."""

    name = "bbr"

    __slots__ = (
        "_cwnd",
        "_drain_round",
        "_gain_before",
        "_has_rtt",
        "_idle_restart",
        "_initial",
        "_model",
        "_pipe",
        "_prior_cwnd",
        "_probe",
        "_random",
        "_rate",
        "_recovery_mark",
        "_round_entered",
        "_rtt_probe",
        "_state",
        "_tactic",
        "_timeout_at",
        "_undo",
        "_undo_state",
        "mss",
    )

    def __init__(self, mss: int, now: float, random: Random) -> None:
        self._random = random
        self._forget(now, mss)

    def _forget(self, now: float, mss: int) -> None:
        self.mss = mss
        self._initial = initial_window(mss)
        self._model = PathModel(now, self._initial)
        self._cwnd = self._prior_cwnd = float(self._initial)
        self._has_rtt = self._idle_restart = False
        self._pipe = FullPipe()
        self._probe = BandwidthProbe(self._model, self._random, now)
        self._rtt_probe = RttProbe(self._model)
        self._drain_round = 0
        self._timeout_at: float | None = None
        self._recovery_mark: int | None = None
        self._undo: tuple[float, float, float] | None = None
        self._undo_state: State | None = None
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
        elif self._state is PROBE_RTT and self._rtt_probe.is_over(now):
            self._leave_probe_rtt(now)

    def on_ack(self, acked: Acked) -> None:
        """Section 5.2.3: update the model, let the state machine move, set rate and window."""
        model = self._model
        app_limited = acked.app_limited or self._rtt_probe.spoils(acked)
        model.on_ack(acked, app_limited)
        if not self._has_rtt and acked.rtt:
            self._first_rtt(acked.rtt)
        if self._timeout_at is not None:
            self._recover(acked)
        loss_round_start = model.loss_round_start
        if loss_round_start:
            self._judge_losses(acked, app_limited)
        model.update_aggregation(acked, self._cwnd, not self._pipe.reached)
        if model.round_start:
            self._probe.count_round()
            if not (self._pipe.now or app_limited) and acked.delivery_rate > 0.0:
                self._pipe.on_round(acked.delivery_rate)
        if self._pipe.reached:
            self._advance(acked, app_limited)
        model.update_min_rtt(acked.now, acked.rtt)
        if model.probe_rtt_expired or self._state is PROBE_RTT:
            self._check_probe_rtt(acked)
        self._idle_restart = False
        if loss_round_start:
            model.end_loss_round(acked)
        model.settle(self.mss)
        self._set_rate(self._tactic.pacing_gain)
        self._set_window(acked.newly_acked)

    def on_loss(self, lost: Lost) -> None:
        """Section 5.5.10.2: while bandwidth is probed, too many losses end the probe at once."""
        if self._model.note_loss():
            self._save()
        if not self._probe.sampling or not is_too_high(lost.lost_since_sent, lost.tx_in_flight):
            return
        self._probe.note_too_high(inflight_at_loss(lost), self._cwnd, lost.app_limited)
        if self._state is UP:
            self._undo_state = UP
            self._start_down(lost.now)

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
        if self._undo is None:
            return
        bw, shortterm, longterm = self._undo
        self._undo = None
        self._timeout_at = None
        self._restore()
        model = self._model
        model.loss_in_round = False
        self._pipe.reset(0.0)
        model.bw_shortterm = max(model.bw_shortterm, bw)
        model.inflight_shortterm = max(model.inflight_shortterm, shortterm)
        model.inflight_longterm = max(model.inflight_longterm, longterm)
        state, self._undo_state = self._undo_state, None
        if state is STARTUP:
            self._pipe.reached = False
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
            self._pipe.reached = True
            model.inflight_longterm = max(model.bdp, model.inflight_latest)

    def _advance(self, acked: Acked, app_limited: bool) -> None:
        state = self._state
        if state is STARTUP:
            self._enter(DRAIN)
            self._drain_round = self._model.round_count
        if self._state is DRAIN and (
            acked.in_flight <= self._model.inflight(1.0)
            or self._model.round_count > self._drain_round + DRAIN_ROUNDS
        ):
            self._start_down(acked.now)
        self._advance_probe_bw(acked, app_limited)

    # Bandwidth probing: section 5.3.3.

    def _start_down(self, now: float) -> None:
        self._probe.start_down(now)
        self._enter(DOWN)

    def _start_refill(self) -> None:
        self._probe.start_refill()
        self._enter(REFILL)

    def _start_up(self, acked: Acked) -> None:
        self._pipe.reset(acked.delivery_rate)
        self._probe.start_up(self._cwnd, self.mss)
        self._enter(UP)

    def _advance_probe_bw(self, acked: Acked, app_limited: bool) -> None:
        model, probe = self._model, self._probe
        if model.round_start and probe.end_round(self._tactic.in_probe_bw, app_limited):
            self._start_refill()
            return
        state = self._state
        if model.inflight_longterm < math.inf:
            probe.adapt_longterm(acked, self._cwnd, self.mss, state is UP)
        if state is CRUISE or state is DOWN:
            if acked.now > probe.due_at or (model.round_start and self._reno_would_probe()):
                self._start_refill()
            elif state is DOWN and self._is_time_to_cruise(acked.in_flight):
                self._enter(CRUISE)
        elif state is UP:
            if self._is_time_to_go_down(acked):
                probe.too_high = False
                self._start_down(acked.now)
        elif state is REFILL and model.round_start:
            self._start_up(acked)

    def _reno_would_probe(self) -> bool:
        return self._probe.reno_would_probe(min(self._model.bdp, self._cwnd) / self.mss)

    def _is_time_to_cruise(self, in_flight: int) -> bool:
        if in_flight > self._with_headroom():
            return False
        return in_flight <= self._model.inflight(1.0)

    def _is_time_to_go_down(self, acked: Acked) -> bool:
        """Section 5.3.3.7, with the precaution of 5.3.3.6."""
        longterm = self._model.inflight_longterm
        if self._probe.too_high and acked.in_flight >= longterm:
            self._probe.precautionary = True
            return True
        if acked.window_limited and self._cwnd >= longterm:
            self._pipe.reset(acked.delivery_rate)
            return False
        return self._pipe.now

    # Round-trip probing: section 5.3.4.

    def _check_probe_rtt(self, acked: Acked) -> None:
        model = self._model
        now = acked.now
        if self._state is not PROBE_RTT:
            if self._idle_restart or model.offload_budget >= 2.0 * model.bdp:
                return  # Where hosts, not the path, set the window, its exact length is moot.
            self._save_cwnd()
            self._enter(PROBE_RTT)
            self._rtt_probe.start(now)
            self._probe.stop_sampling()
        if self._rtt_probe.on_ack(now, acked.in_flight <= self._probe_rtt_window()):
            self._leave_probe_rtt(now)

    def _probe_rtt_window(self) -> float:
        return max(self._tactic.window_gain * self._model.bdp, MIN_PIPE_PACKETS * self.mss)

    def _leave_probe_rtt(self, now: float) -> None:
        self._restore()
        self._model.reset_shortterm()
        if self._pipe.reached:
            self._start_down(now)
            self._enter(CRUISE)
        else:
            self._enter(STARTUP)

    # Rate and window: section 5.6.

    def _set_rate(self, gain: float) -> None:
        rate = gain * PACING_MARGIN * self._model.bw
        if rate > self._rate or (self._pipe.reached and rate > 0.0):
            self._rate = rate

    def _set_window(self, newly_acked: int) -> None:
        """Sections 5.6.4.2 to 5.6.4.7."""
        model = self._model
        gain = self._tactic.window_gain
        target = gain * model.bdp + model.extra_acked
        if target < model.offload_budget:
            target = model.offload_budget
        state = self._state
        if state is UP:
            target += 2 * self.mss
        cwnd = self._cwnd
        if self._pipe.reached:
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
