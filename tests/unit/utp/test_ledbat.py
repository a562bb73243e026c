"""LEDBAT's distance from its target, its base delay and its halvings."""

from __future__ import annotations

import math

import pytest

from keynet.transport.utp.congestion import Acked, Lost
from keynet.transport.utp.congestion.ledbat import TARGET, WRAP, Ledbat, QueueDelay

MSS = 1000
RTT = 0.05


def ack(
    ledbat: Ledbat, now: float, delay: float | None, size: int | None = None, full: bool = True
) -> None:
    size = ledbat.window if size is None else size
    ledbat.on_ack(
        Acked(
            now=now,
            newly_acked=size,
            in_flight=0,
            rtt=RTT if delay is None else RTT + max(delay, 0.0),
            delay=delay,
            delivered=0,
            prior_delivered=0,
            delivery_rate=0.0,
            interval=RTT,
            app_limited=False,
            tx_in_flight=size,
            lost=0,
            window_limited=full,
            sent_at=now - RTT,
        )
    )


def steady(window: int = 100_000) -> Ledbat:
    """Past slow start, with a base delay of zero and this window."""
    ledbat = Ledbat(MSS, 0.0)
    while ledbat.window < 2 * window:
        ack(ledbat, 1.0, 0.0, min(ledbat.window, 2 * window - ledbat.window))
    ledbat.on_loss(Lost(1.1, MSS, 1.05, 0, 0, MSS, 0, False))
    assert ledbat.window == window
    return ledbat


def after(ledbat: Ledbat, delay: float, rounds: int = 1, start: float = 2.0) -> float:
    """The change of the window over round trips that all had this queueing delay."""
    for n in range(4):  # fill the filter of the latest delays, acknowledging nothing
        ack(ledbat, start + n / 1000, delay, 0)
    before = ledbat.window
    for n in range(rounds):
        ack(ledbat, start + n * RTT, delay)
    return (ledbat.window - before) / rounds


def test_growth_is_at_most_3000_bytes_a_round_trip() -> None:
    assert after(steady(), 0.0) == 3000
    assert after(steady(), 0.0, rounds=10) == pytest.approx(3000, rel=0.01)


def test_growth_falls_to_nothing_at_the_target() -> None:
    assert after(steady(), TARGET / 2) == pytest.approx(1500, abs=2)
    assert after(steady(), TARGET) == pytest.approx(0, abs=2)


def test_above_the_target_the_window_shrinks() -> None:
    assert after(steady(), 2 * TARGET) == pytest.approx(-3000, abs=2)
    assert after(steady(), 100 * TARGET) == pytest.approx(-12_000, abs=2)


def test_half_a_window_acknowledged_is_half_the_growth() -> None:
    ledbat = steady()
    ack(ledbat, 2.0, 0.0, 50_000)
    assert ledbat.window == pytest.approx(101_500, abs=2)


def test_an_unused_window_does_not_grow_but_may_shrink() -> None:
    ledbat = steady()
    ack(ledbat, 2.0, 0.0, 1000, full=False)
    assert ledbat.window == 100_000
    for n in range(5):
        ack(ledbat, 2.1 + n, 3 * TARGET, 10_000, full=False)
    assert ledbat.window < 100_000


def test_slow_start_ends_when_a_queue_builds() -> None:
    ledbat = Ledbat(MSS, 0.0)
    for n in range(4):
        ack(ledbat, 1.0 + n, 0.0)
    assert ledbat.window == 160_000
    for n in range(4):
        ack(ledbat, 6.0 + n / 100, 0.06, 0)
    ack(ledbat, 7.0, 0.06)
    assert ledbat.window <= 82_000


def test_losses_halve_once_a_round_trip() -> None:
    ledbat = steady()
    ledbat.on_loss(Lost(3.0, MSS, 2.9, 0, 0, MSS, 0, False))
    ledbat.on_loss(Lost(3.01, MSS, 2.95, 0, 0, MSS, 0, False))
    assert ledbat.window == 50_000
    ledbat.on_loss(Lost(3.1, MSS, 3.05, 0, 0, MSS, 0, False))
    assert ledbat.window == 25_000
    ledbat.on_spurious_loss(3.2)
    assert ledbat.window == 50_000


def test_time_out_starts_over_to_half() -> None:
    ledbat = steady()
    ledbat.on_timeout(3.0)
    ledbat.on_timeout(4.0)
    assert ledbat.window == 2 * MSS
    for n in range(12):
        ack(ledbat, 5.0 + n * RTT, 0.0)
    assert 50_000 <= ledbat.window < 80_000


def test_the_window_never_falls_below_two_packets() -> None:
    ledbat = steady(20_000)
    for n in range(40):
        ack(ledbat, 2.0 + n, 1.0)
        ledbat.on_loss(Lost(2.5 + n, MSS, 2.4 + n, 0, 0, MSS, 0, False))
    assert ledbat.window == 2 * MSS


def test_round_trips_serve_where_the_peer_sends_no_delays() -> None:
    ledbat = Ledbat(MSS, 0.0)
    for n in range(3):
        ack(ledbat, 1.0 + n, None)
    assert ledbat.window == 80_000


def test_pacing_and_another_path() -> None:
    ledbat = steady()
    assert ledbat.pacing_rate == pytest.approx(1.25 * 100_000 / RTT)
    ledbat.on_path_changed(9.0, 1200)
    assert ledbat.window == 12_000
    assert ledbat.pacing_rate == math.inf


class TestQueueDelay:
    def test_only_differences_count(self) -> None:
        for offset in (0.0, -3000.0, 123456.0):
            delay = QueueDelay()
            delay.update(0.0, offset + 0.02)
            assert [delay.update(1.0, offset + 0.08) for _ in range(4)][-1] == pytest.approx(0.06)

    def test_the_smallest_of_the_latest_four(self) -> None:
        delay = QueueDelay()
        delay.update(0.0, 0.0)
        values = [delay.update(1.0, sample) for sample in (0.3, 0.1, 0.2, 0.3)]
        assert values[-1] == pytest.approx(0.1)

    def test_timestamps_that_begin_again(self) -> None:
        delay = QueueDelay()
        delay.update(0.0, WRAP - 0.01)
        values = [delay.update(1.0, 0.04) for _ in range(4)]
        assert values[-1] == pytest.approx(0.05, abs=1e-6)

    def test_the_base_is_forgotten_after_ten_minutes(self) -> None:
        delay = QueueDelay()
        delay.update(0.0, 0.0)
        for minute in range(1, 10):
            assert delay.update(minute * 60.0, 0.1) <= 0.1 + 1e-9
        assert delay.update(595.0, 0.1) == pytest.approx(0.1)
        assert delay.update(660.0, 0.1) == pytest.approx(0.0)
