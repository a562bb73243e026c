"""BBR's state machine and model, acknowledgement by acknowledgement."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest

from keynet.errors import ConfigError
from keynet.transport.utp.congestion import ALGORITHMS, DEFAULT, Acked, Lost, create
from keynet.transport.utp.congestion.bbr import Bbr
from keynet.transport.utp.congestion.bbr_model import PathModel, inflight_at_loss
from keynet.transport.utp.congestion.bbr_states import State

MSS = 1400


class Path:
    """Feeds a controller one round trip after another, as a path of a fixed size would."""

    def __init__(self, rtt: float = 0.05, rate: float = 10e6) -> None:
        self.rtt, self.rate = rtt, rate
        self.now = 100.0
        self.delivered = 0
        self.bbr = Bbr(MSS, self.now, Random(7))
        self.seen = [self.bbr.state]

    def ack(self, size: int, rate: float, **changes: object) -> None:
        """A flight of `size` bytes arrives and is acknowledged in one piece, a round trip on."""
        self.now += self.rtt
        self.piece(size, rate, self.delivered, **changes)

    def piece(self, size: int, rate: float, prior: int, **changes: object) -> None:
        self.delivered += size
        acked = Acked(
            now=self.now,
            newly_acked=size,
            in_flight=0,
            rtt=self.rtt,
            delay=None,
            delivered=self.delivered,
            prior_delivered=prior,
            delivery_rate=rate,
            interval=self.rtt,
            app_limited=False,
            tx_in_flight=size,
            lost=0,
            window_limited=True,
            sent_at=self.now - self.rtt,
        )
        for field, value in changes.items():
            setattr(acked, field, value)
        self.bbr.on_ack(acked)

    def round(self, stop: State | None = None, **changes: object) -> None:
        """Send what the window allows; it arrives as fast as the path is, in ten pieces."""
        size = self.bbr.window
        took = max(self.rtt, size / self.rate)
        for _ in range(10):
            self.now += took / 10
            prior = max(self.delivered - size * 9 // 10, 0)
            self.piece(size // 10, size / took, prior, **changes)
            if self.bbr.state is not self.seen[-1]:
                self.seen.append(self.bbr.state)
            if self.bbr.state is stop:
                return

    def lose(self, size: int, tx_in_flight: int, **changes: object) -> None:
        lost = Lost(self.now, size, self.now - self.rtt, 0, tx_in_flight, size, 0, False)
        for field, value in changes.items():
            setattr(lost, field, value)
        self.bbr.on_loss(lost)

    def until(self, state: State, rounds: int = 400) -> None:
        for _ in range(rounds):
            if self.bbr.state is state:
                return
            self.round(state)
        raise AssertionError(f"never {state}; now {self.bbr.state}")


def test_the_names_and_the_default() -> None:
    assert set(ALGORITHMS) == {"bbr", "cubic", "ledbat"}
    for name in ALGORITHMS:
        assert create(name, MSS, 0.0, Random(1)).name == name
    assert DEFAULT == "bbr"
    with pytest.raises(ConfigError, match="bbr, cubic, ledbat"):
        create("reno", MSS, 0.0, Random(1))


def test_startup_doubles_and_ends_on_a_plateau() -> None:
    path = Path()
    windows = []
    while path.bbr.state is State.STARTUP:
        windows.append(path.bbr.window)
        path.round()
    growing = [later / earlier for earlier, later in pairwise(windows[:4])]
    assert all(1.5 < growth <= 2.01 for growth in growing)
    assert path.bbr.model.max_bw == 10e6
    assert path.bbr.model.inflight_longterm == math.inf
    assert path.bbr.state in (State.DRAIN, State.DOWN, State.CRUISE)


def test_startup_ends_on_heavy_loss() -> None:
    path = Path()
    for _ in range(4):
        path.round()
    assert path.bbr.state is State.STARTUP
    for _ in range(6):
        path.lose(MSS, 100 * MSS)
    path.round(lost=6 * MSS, tx_in_flight=100 * MSS)
    assert path.bbr.state is not State.STARTUP
    assert path.bbr.model.inflight_longterm < math.inf


def test_startup_survives_little_loss() -> None:
    path = Path(rate=1e9)
    for _ in range(5):
        path.round()
        for _ in range(6):
            path.lose(MSS, 1000 * MSS)
        path.round(lost=6 * MSS, tx_in_flight=1000 * MSS)
    assert path.bbr.state is State.STARTUP


def test_startup_is_not_ended_by_an_idle_application() -> None:
    path = Path()
    for _ in range(20):
        path.ack(MSS, MSS / path.rtt, app_limited=True)
    assert path.bbr.state is State.STARTUP


def test_the_cycle_of_bandwidth_probing() -> None:
    path = Path()
    while path.bbr.state is not State.DOWN:
        path.round(State.DOWN, in_flight=10**9)  # a queue that drains slowly
    for _ in range(200):
        path.round()
    assert path.seen[:8] == [
        *(State.STARTUP, State.DRAIN, State.DOWN, State.CRUISE),
        *(State.REFILL, State.UP, State.DOWN, State.CRUISE),
    ]


def test_gains_of_the_states() -> None:
    path = Path()
    path.until(State.UP)
    assert path.bbr.pacing_rate == pytest.approx(1.25 * 0.99 * 10e6)
    path.until(State.DOWN)
    assert path.bbr.pacing_rate == pytest.approx(0.9 * 0.99 * 10e6)
    path.until(State.CRUISE)
    assert path.bbr.pacing_rate == pytest.approx(0.99 * 10e6)


def test_a_probe_that_loses_too_much_sets_the_long_term_bound_and_ends() -> None:
    path = Path()
    path.until(State.UP)
    path.lose(40 * MSS, 600 * MSS)
    assert path.bbr.state is State.DOWN
    bound = path.bbr.model.inflight_longterm
    assert 560 * MSS < bound < 600 * MSS
    path.round()
    assert path.bbr.window <= bound


def test_a_probe_bears_one_percent() -> None:
    path = Path()
    path.until(State.UP)
    path.lose(6 * MSS, 600 * MSS)
    assert path.bbr.state is State.UP


def test_losses_above_what_is_tolerated_lower_the_short_term_bounds_until_refill() -> None:
    path = Path()
    path.until(State.CRUISE)
    path.round()
    for _ in range(4):
        path.lose(50 * MSS, 350 * MSS)
        path.ack(300 * MSS, 7e6, lost=50 * MSS, tx_in_flight=350 * MSS)
    assert path.bbr.model.bw_shortterm < 8e6
    assert path.bbr.pacing_rate < 8e6
    assert path.bbr.model.max_bw == 10e6
    path.until(State.REFILL)
    assert path.bbr.model.bw_shortterm == math.inf


def test_tolerated_losses_do_not_wear_the_rate_down() -> None:
    path = Path()
    path.until(State.CRUISE)
    for _ in range(20):
        path.lose(4 * MSS, 350 * MSS)
        size = int(path.bbr.pacing_rate * path.rtt * 0.99)
        path.ack(size, path.bbr.pacing_rate * 0.99, lost=4 * MSS, tx_in_flight=350 * MSS)
        if path.bbr.state is not State.CRUISE:
            break
    assert path.bbr.model.bw > 0.97 * 10e6


def test_an_app_limited_sample_counts_only_upwards() -> None:
    path = Path()
    path.until(State.CRUISE)
    for _ in range(100):
        path.ack(MSS, 1e4, app_limited=True)
    assert path.bbr.model.max_bw == 10e6
    path.ack(MSS, 12e6, app_limited=True)
    assert path.bbr.model.max_bw == 12e6


def test_round_trip_probe_every_five_seconds_at_half_the_path() -> None:
    path = Path()
    path.until(State.PROBE_RTT)
    began = path.now
    assert began > 105.0
    assert path.bbr.window <= 0.5 * 10e6 * path.rtt + MSS
    while path.bbr.state is State.PROBE_RTT:
        path.round(delivery_rate=5e6)
    assert 0.199 < path.now - began < 0.5
    path.round()
    assert path.bbr.window > 0.9 * 10e6 * path.rtt


def test_no_round_trip_probe_where_hosts_decide() -> None:
    path = Path(rtt=0.0005, rate=50e6)
    while path.now < 106.5:
        path.round()
        assert path.bbr.state is not State.PROBE_RTT


def test_a_lower_round_trip_is_taken_at_once() -> None:
    path = Path()
    path.until(State.CRUISE)
    path.rtt = 0.02
    path.round()
    assert path.bbr.model.min_rtt == 0.02


def test_restart_from_idle_paces_at_the_bandwidth() -> None:
    path = Path()
    path.until(State.DOWN)
    window = path.bbr.window
    path.bbr.on_send(path.now + 60, MSS, 0, True)
    assert path.bbr.pacing_rate == pytest.approx(0.99 * 10e6)
    assert path.bbr.window == window
    path.now += 60
    path.round()
    assert path.bbr.state is not State.PROBE_RTT


def test_time_out_almost_stops_and_then_restores() -> None:
    path = Path()
    path.until(State.CRUISE)
    for _ in range(4):
        path.round()
    before = path.bbr.window
    path.now += 1.0
    path.bbr.on_timeout(path.now)
    assert path.bbr.window == 2 * MSS
    path.bbr.on_timeout(path.now + 1)
    path.now += 1
    assert path.bbr.window == 2 * MSS
    path.round()
    path.round()
    assert path.bbr.window < before / 2
    path.round()
    assert path.bbr.window > 0.7 * before


def test_spurious_loss_returns_to_the_probe() -> None:
    path = Path()
    path.until(State.UP)
    before = path.bbr.model.inflight_longterm
    path.lose(40 * MSS, 600 * MSS)
    assert path.bbr.state is State.DOWN
    path.bbr.on_spurious_loss(path.now)
    assert path.bbr.state is State.REFILL
    assert path.bbr.model.inflight_longterm == before


def test_spurious_loss_returns_to_startup() -> None:
    path = Path(rate=1e9)
    for _ in range(4):
        path.round()
    for _ in range(6):
        path.lose(MSS, 100 * MSS)
    path.round(lost=6 * MSS, tx_in_flight=100 * MSS)
    assert path.bbr.state is not State.STARTUP
    path.bbr.on_spurious_loss(path.now)
    assert path.bbr.state is State.STARTUP
    assert path.bbr.model.inflight_longterm == math.inf


def test_spurious_time_out_gives_the_window_back() -> None:
    path = Path()
    path.until(State.CRUISE)
    before = path.bbr.window
    path.bbr.on_timeout(path.now)
    path.bbr.on_spurious_loss(path.now)
    assert path.bbr.window == before


def test_short_paths_get_a_window_for_the_hosts_and_no_pacing() -> None:
    path = Path(rtt=0.0002, rate=300e6)
    for _ in range(300):
        path.round()
    assert path.bbr.pacing_rate == math.inf
    assert path.bbr.window >= 2_000_000


def test_a_slow_short_path_is_paced() -> None:
    path = Path(rtt=0.0005, rate=12e6)
    for _ in range(300):
        path.round()
    assert path.bbr.pacing_rate < 16e6
    assert path.bbr.window < 130_000


def test_very_fast_long_paths_rely_on_the_window() -> None:
    path = Path(rtt=0.02, rate=500e6)
    path.until(State.CRUISE)
    assert path.bbr.pacing_rate == math.inf


def test_aggregated_acknowledgements_widen_the_window() -> None:
    smooth, lumpy = Path(), Path()
    for path in (smooth, lumpy):
        path.until(State.CRUISE)
    for _ in range(12):
        for _ in range(10):
            smooth.now += 0.005
            smooth.piece(50_000, 10e6, smooth.delivered - 450_000)
        lumpy.ack(500_000, 10e6)
    assert smooth.bbr.model.extra_acked <= 150_000
    assert lumpy.bbr.model.extra_acked >= 400_000
    assert lumpy.bbr.window > smooth.bbr.window + 300_000


def test_the_window_follows_a_bigger_packet() -> None:
    bbr = Bbr(1200, 0.0, Random(1))
    bbr.mss = 65507
    assert bbr.window >= 2 * 65507


def test_another_path_starts_over() -> None:
    path = Path()
    path.until(State.CRUISE)
    path.bbr.on_path_changed(path.now, 1200)
    assert path.bbr.state is State.STARTUP
    assert path.bbr.model.max_bw == 0.0
    assert path.bbr.mss == 1200
    assert path.bbr.window == 12_000


def test_first_pacing_rate_spreads_the_initial_window_over_the_round_trip() -> None:
    bbr = Bbr(MSS, 0.0, Random(1))
    path = Path()
    assert bbr.pacing_rate == pytest.approx(2.77 * 14_000 / 0.001)
    path.ack(MSS, 0.0)
    assert path.bbr.pacing_rate == pytest.approx(2.77 * 14_000 / 0.05)


def test_volume_at_which_losses_crossed_the_threshold() -> None:
    lost = Lost(0.0, 1000, 0.0, 0, 101_000, 1000, 0, False)
    assert inflight_at_loss(lost) == pytest.approx(100_000 + 2000 / 0.98)
    late = Lost(0.0, 1000, 0.0, 0, 101_000, 50_000, 0, False)
    assert inflight_at_loss(late) == 100_000


def test_bandwidth_filter_keeps_two_cycles() -> None:
    path = Path()
    path.ack(MSS, 5e6)
    model: PathModel = path.bbr.model
    model.advance_max_bw_filter()
    path.ack(MSS, 3e6)
    assert model.max_bw == 5e6
    model.advance_max_bw_filter()
    assert model.max_bw == 3e6
    model.advance_max_bw_filter()
    assert model.max_bw == 3e6
