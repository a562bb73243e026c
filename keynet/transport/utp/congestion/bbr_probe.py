"""How BBR looks for more bandwidth: draft-ietf-ccwg-bbr-06 sections 5.3.1.2 and 5.3.3.

What is remembered from one probe to the next, and the rules that read it. Which state comes next
is decided in bbr.py.
"""

from __future__ import annotations

import enum
import math
from random import Random

from .api import Acked
from .bbr_model import BETA, PathModel, is_too_high

FULL_BW_GROWTH = 1.25
FULL_BW_ROUNDS = 3
RENO_ROUNDS = 63
MAX_RAISE_ROUNDS = 30
PROBE_WAIT = 2.0


class FullPipe:
    """Section 5.3.1.2: three rounds that brought no more bandwidth mean that the pipe is full."""

    __slots__ = ("_bw", "_rounds", "now", "reached")

    def __init__(self) -> None:
        self.reached = False
        """At some time on this path; ends Startup."""
        self.reset(0.0)

    def reset(self, bw: float) -> None:
        """Begin to look for growth over `bw` bytes per second."""
        self._bw = bw
        self._rounds = 0
        self.now = False

    def on_round(self, rate: float) -> None:
        """Take the delivery rate at the start of a round that was not application-limited."""
        if rate >= self._bw * FULL_BW_GROWTH:
            self.reset(rate)
            return
        self._rounds += 1
        if self._rounds >= FULL_BW_ROUNDS:
            self.now = self.reached = True


class AckPhase(enum.Enum):
    """What the acknowledgements arriving now say about the last bandwidth probe."""

    INIT = enum.auto()
    REFILLING = enum.auto()
    PROBE_STARTING = enum.auto()
    PROBE_FEEDBACK = enum.auto()
    PROBE_STOPPING = enum.auto()


class BandwidthProbe:
    """The memory of ProbeBW's cycles; it moves the model's long-term bound."""

    __slots__ = (
        "_model",
        "_random",
        "_rounds",
        "_up_acked",
        "_up_per_packet",
        "_up_rounds",
        "due_at",
        "phase",
        "precautionary",
        "sampling",
        "too_high",
    )

    def __init__(self, model: PathModel, random: Random, now: float) -> None:
        self._model = model
        self._random = random
        self._rounds = 0
        self.due_at = now
        """When the next probe begins at the latest."""
        self._up_rounds, self._up_acked, self._up_per_packet = 0, 0.0, math.inf
        self.phase = AckPhase.INIT
        self.sampling = False
        """Losses now tell of the bandwidth probe, which has not yet answered to any."""
        self.too_high = False
        """The last probe ended in too many losses."""
        self.precautionary = False
        """The last probe stopped early at the volume where an older one had lost."""

    def start_down(self, now: float) -> None:
        """The probe is over: pick when the next one comes (section 5.3.3.8.3)."""
        self._model.reset_congestion_signals()
        self._up_per_packet = math.inf
        self._rounds = self._random.randint(0, 1)
        self.due_at = now + PROBE_WAIT + self._random.random()
        self.stop_sampling()

    def stop_sampling(self) -> None:
        """What is acknowledged after this round has nothing to do with the last probe."""
        self.phase = AckPhase.PROBE_STOPPING
        self._model.start_round()

    def start_refill(self) -> None:
        """Forget the short-term bounds and fill the pipe first (section 5.3.3.3)."""
        self._model.reset_shortterm()
        self._up_rounds, self._up_acked = 0, 0.0
        self.precautionary = False
        self.phase = AckPhase.REFILLING
        self._model.start_round()

    def start_up(self, window: float, mss: int) -> None:
        """Accelerate (section 5.3.3.5)."""
        self.sampling = True
        self.phase = AckPhase.PROBE_STARTING
        self._model.start_round()
        self._raise_slope(window, mss)

    def count_round(self) -> None:
        """A round has begun."""
        self._rounds += 1

    def reno_would_probe(self, packets: float) -> bool:
        """Whether Reno with a window of `packets` would have recovered by now (5.3.3.8.2)."""
        return self._rounds >= max(min(packets, RENO_ROUNDS), 1)

    def end_round(self, in_probe_bw: bool, app_limited: bool) -> bool:
        """At the start of each round; True when the next probe should follow at once (5.3.3.6)."""
        if self.phase is AckPhase.PROBE_STARTING:
            self.phase = AckPhase.PROBE_FEEDBACK
        if self.phase is not AckPhase.PROBE_STOPPING:
            return False
        self.sampling = False
        self.phase = AckPhase.INIT
        if in_probe_bw and not app_limited:
            self._model.advance_max_bw_filter()
        return in_probe_bw and self.precautionary and not self.too_high

    def adapt_longterm(self, acked: Acked, window: float, mss: int, up: bool) -> None:
        """Section 5.3.3.9, AdaptLongTermModel: raise the bound while losses allow it."""
        model = self._model
        if is_too_high(acked.lost, acked.tx_in_flight):
            return
        if acked.tx_in_flight > model.inflight_longterm:
            model.inflight_longterm = acked.tx_in_flight
        if up and acked.window_limited and window >= model.inflight_longterm:
            self._raise_longterm(acked.newly_acked, window, mss)

    def _raise_slope(self, window: float, mss: int) -> None:
        growth = 1 << self._up_rounds
        self._up_rounds = min(self._up_rounds + 1, MAX_RAISE_ROUNDS)
        self._up_per_packet = max(window / growth, mss)

    def _raise_longterm(self, newly_acked: int, window: float, mss: int) -> None:
        self._up_acked += newly_acked
        if self._up_acked >= self._up_per_packet:
            packets = self._up_acked // self._up_per_packet
            self._up_acked -= packets * self._up_per_packet
            self._model.inflight_longterm += packets * mss
        if self._model.round_start:
            self._raise_slope(window, mss)

    def note_too_high(self, in_flight: float, window: float, app_limited: bool) -> None:
        """Section 5.5.10.2: this much in flight was more than the path bears."""
        self.too_high = True
        self.sampling = False
        if not app_limited:
            target = min(self._model.bdp, window)
            self._model.inflight_longterm = max(in_flight, BETA * target)
