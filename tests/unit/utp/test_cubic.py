"""CUBIC's curve and HyStart++, against the numbers of RFC 9438 and RFC 9406."""

from __future__ import annotations

import math

import pytest

from keynet.transport.utp.congestion import Acked, Lost
from keynet.transport.utp.congestion.cubic import BETA, C, Cubic
from keynet.transport.utp.congestion.hystart import HyStart

MSS = 1000


def ack(
    cubic: Cubic, now: float, size: int, *, full: bool = True, rtt: float = 0.05, sent: float = -1
) -> None:
    cubic.on_ack(
        Acked(
            now=now,
            newly_acked=size,
            in_flight=cubic.window - size if full else 0,
            rtt=rtt,
            delay=None,
            delivered=0,
            prior_delivered=0,
            delivery_rate=0.0,
            interval=rtt,
            app_limited=not full,
            tx_in_flight=0,
            lost=0,
            window_limited=full,
            sent_at=sent if sent >= 0 else now - rtt,
        )
    )


def lose(cubic: Cubic, now: float, sent_at: float) -> None:
    cubic.on_loss(Lost(now, MSS, sent_at, 0, 0, MSS, 0, False))


def grown(window: float, now: float = 10.0) -> Cubic:
    """A controller in slow start whose window has reached `window` bytes."""
    cubic = Cubic(MSS, 0.0)
    while cubic.window < window:
        ack(cubic, now, min(cubic.window, int(window) - cubic.window))
    return cubic


def run(cubic: Cubic, start: float, seconds: float, rtt: float = 0.05) -> None:
    now = start
    while now < start + seconds:
        now += rtt
        ack(cubic, now, cubic.window, rtt=rtt)


def test_initial_window() -> None:
    assert Cubic(1400, 0.0).window == 14_000
    assert Cubic(9000, 0.0).window == 18_000


def test_slow_start_doubles_each_round_trip() -> None:
    cubic = Cubic(MSS, 0.0)
    ack(cubic, 1.0, 10_000)
    assert cubic.window == 20_000


def test_one_reduction_for_all_losses_of_an_episode() -> None:
    cubic = grown(100_000)
    lose(cubic, 11.0, 10.9)
    assert cubic.window == 70_000
    lose(cubic, 11.01, 10.95)
    lose(cubic, 11.02, 11.0)
    assert cubic.window == 70_000
    lose(cubic, 11.2, 11.1)
    assert cubic.window == 49_000


def test_the_curve_returns_to_the_old_window_after_k_seconds() -> None:
    cubic = grown(2_000_000)
    lose(cubic, 11.0, 10.9)
    k = (2000 * (1 - BETA) / C) ** (1 / 3)
    run(cubic, 11.0, k - 1.0)
    assert 1_850_000 < cubic.window < 2_000_000
    run(cubic, 11.0 + k - 1.0, 1.0)
    assert cubic.window == pytest.approx(2_000_000, rel=0.02)
    run(cubic, 11.0 + k, 5.0)
    assert cubic.window > 2_030_000


def test_fast_convergence_gives_up_some_of_the_old_window() -> None:
    cubic = grown(1_000_000)
    lose(cubic, 11.0, 10.9)
    lose(cubic, 12.0, 11.5)
    # W_max is now 0.85 of 700 kB, which the curve reaches and then lingers at.
    k = ((595 - 490) / C) ** (1 / 3)
    run(cubic, 12.0, k)
    assert cubic.window == pytest.approx(595_000, rel=0.03)


def test_small_windows_grow_as_reno_does() -> None:
    cubic = grown(20_000)
    lose(cubic, 11.0, 10.9)
    run(cubic, 11.0, 1.0, rtt=0.01)
    # The cubic would need K = 2.5 s back to 20 packets; Reno's estimate is there in 12 rounds.
    assert cubic.window > 40_000


def test_an_unused_window_does_not_grow_and_its_clock_stands() -> None:
    cubic = grown(1_000_000)
    lose(cubic, 11.0, 10.9)
    run(cubic, 11.0, 1.0)
    before = cubic.window
    now = 12.0
    while now < 60.0:
        now += 0.05
        ack(cubic, now, MSS, full=False)
    assert cubic.window == before
    run(cubic, now, 0.1)
    assert cubic.window < before * 1.1


def test_time_out_starts_over_to_the_threshold() -> None:
    cubic = grown(1_000_000)
    cubic.on_timeout(11.0)
    assert cubic.window == 2 * MSS
    cubic.on_timeout(12.0)
    run(cubic, 12.0, 0.6)
    assert cubic.window == pytest.approx(700_000, rel=0.02)


def test_spurious_losses_are_undone_once() -> None:
    cubic = grown(1_000_000)
    lose(cubic, 11.0, 10.9)
    cubic.on_spurious_loss(11.1)
    assert cubic.window == 1_000_000
    lose(cubic, 11.2, 11.15)
    assert cubic.window == 700_000
    cubic.on_spurious_loss(11.3)
    cubic.on_spurious_loss(11.4)
    assert cubic.window == 1_000_000


def test_spurious_time_out_is_undone() -> None:
    cubic = grown(1_000_000)
    cubic.on_timeout(11.0)
    cubic.on_spurious_loss(11.1)
    assert cubic.window == 1_000_000


def test_the_window_never_falls_below_two_packets() -> None:
    cubic = Cubic(MSS, 0.0)
    for step in range(50):
        lose(cubic, 1.0 + step, 0.9 + step)
    assert cubic.window == 2 * MSS
    cubic.mss = 9000
    assert cubic.window == 18_000


def test_pacing_spreads_the_window() -> None:
    cubic = grown(100_000)
    assert cubic.pacing_rate == pytest.approx(2 * 100_000 / 0.05)
    lose(cubic, 11.0, 10.9)
    assert cubic.pacing_rate == pytest.approx(1.25 * 70_000 / 0.05)
    assert Cubic(MSS, 0.0).pacing_rate == math.inf
    assert grown(100_000_000).pacing_rate == math.inf


def test_another_path_starts_over() -> None:
    cubic = grown(1_000_000)
    cubic.on_path_changed(11.0, 1200)
    assert cubic.window == 12_000
    assert cubic.pacing_rate == math.inf


class TestHyStart:
    def rounds(self, hystart: HyStart, *rtts: float, samples: int = 10) -> list[bool]:
        """One round for each round-trip time; whether each asked to leave slow start."""
        answers = []
        for rtt in rtts:
            self.now += rtt
            left = hystart.on_ack(self.now, self.now - rtt / 2, rtt)
            for _ in range(samples - 1):
                left |= hystart.on_ack(self.now, 0.0, rtt)
            answers.append(left)
        return answers

    def setup_method(self) -> None:
        self.now = 1.0

    def test_a_steady_delay_goes_on(self) -> None:
        hystart = HyStart(0.0)
        assert not any(self.rounds(hystart, *[0.05] * 20))
        assert hystart.growth_divisor == 1

    def test_a_rise_slows_down_and_leaves_after_five_rounds(self) -> None:
        hystart = HyStart(0.0)
        self.rounds(hystart, 0.05, 0.05, 0.06)
        assert hystart.growth_divisor == 4
        assert self.rounds(hystart, *[0.06] * 5) == [False] * 4 + [True]

    def test_a_rise_that_was_noise_is_forgotten(self) -> None:
        hystart = HyStart(0.0)
        self.rounds(hystart, 0.05, 0.05, 0.06, 0.05)
        assert hystart.growth_divisor == 1

    def test_small_rises_and_few_samples_say_nothing(self) -> None:
        hystart = HyStart(0.0)
        self.rounds(hystart, 0.01, 0.01, 0.0135)
        assert hystart.growth_divisor == 1
        self.rounds(hystart, 0.5, 0.5, samples=7)
        assert hystart.growth_divisor == 1
