"""The token bucket: exact rates, bounded bursts, no drift."""

import math

import pytest

from keynet.transport.utp.pacing import MAX_LATENESS, Pacer

MSS = 1000


def drive(pacer: Pacer, start: float, seconds: float, late: float = 0.0) -> int:
    """Send whatever is allowed, waking `late` after each promise; returns the bytes."""
    now, total = start, 0
    while now < start + seconds:
        size = pacer.budget(now)
        if size:
            pacer.sent(size, now)
            total += size
        wake_at = pacer.next_send_at()
        assert wake_at is not None
        assert wake_at > now
        now = wake_at + late
    return total


@pytest.mark.parametrize("rate", [5e4, 1e6, 25e6, 300e6])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.004])
def test_long_run_rate_is_kept_even_when_woken_late(rate: float, late: float) -> None:
    pacer = Pacer(MSS, 100.0, rate)
    total = drive(pacer, 100.0, 10.0, late)
    assert total == pytest.approx(rate * 10, rel=0.02)


def test_burst_after_idleness_is_one_quantum() -> None:
    pacer = Pacer(MSS, 0.0, 10e6)
    pacer.sent(pacer.budget(0.0), 0.0)
    assert pacer.budget(60.0) <= 10_001
    assert pacer.quantum == 10_000


def test_lateness_is_made_up_for_within_bounds() -> None:
    pacer = Pacer(MSS, 0.0, 10e6)
    pacer.sent(pacer.budget(0.0), 0.0)
    pacer.next_send_at()
    assert pacer.budget(60.0) <= 10e6 * (0.001 + MAX_LATENESS) + 1


def test_quantum_is_never_below_two_packets() -> None:
    pacer = Pacer(MSS, 0.0, 1000.0)
    assert pacer.quantum == 2 * MSS
    assert pacer.budget(0.0) >= 2 * MSS


def test_the_promise_is_kept_for_what_is_left() -> None:
    pacer = Pacer(MSS, 1e6, 1e6)
    pacer.sent(2000, 1e6)
    wake_at = pacer.next_send_at(500)
    assert wake_at is not None
    assert wake_at == pytest.approx(1e6 + 0.001)
    assert pacer.budget(wake_at) >= 500
    assert pacer.budget(wake_at - 0.0005) >= 0


def test_overdraft_is_paid_back() -> None:
    pacer = Pacer(MSS, 0.0, 1e6)
    pacer.sent(12_000, 0.0)
    assert pacer.budget(0.009) == 0
    assert pacer.next_send_at() == pytest.approx(0.012)


def test_without_a_limit_nothing_waits() -> None:
    pacer = Pacer(MSS, 0.0)
    assert pacer.rate == math.inf
    assert pacer.budget(0.0) > 1 << 40
    pacer.sent(1 << 30, 0.0)
    assert pacer.next_send_at() is None
    pacer.set_rate(1e6)
    assert 0 < pacer.budget(1.0) <= 2 * MSS + 1


def test_a_clock_that_stands_still_gives_nothing() -> None:
    pacer = Pacer(MSS, 5.0, 1e6)
    pacer.sent(2000, 5.0)
    assert [pacer.budget(5.0) for _ in range(5)] == [0] * 5
    assert pacer.budget(4.0) == 0


def test_a_bigger_packet_always_fits_what_is_released() -> None:
    pacer = Pacer(MSS, 0.0, 1e6)
    pacer.sent(2000, 0.0)
    pacer.mss = 9000
    assert pacer.quantum == 18_000
    wake_at = pacer.next_send_at()
    assert wake_at is not None
    assert pacer.budget(wake_at / 3) == 0
    assert pacer.budget(wake_at) >= 9000
