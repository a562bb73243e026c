"""Token buckets: bursts, refills, and a bounded number of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.rates import Rates


def test_a_rested_key_may_burst_and_then_waits():
    rates: Rates[str] = Rates(2.0, 3)
    assert [rates.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.take("a", 0.0) == pytest.approx(0.5)
    assert rates.take("a", 0.4) == pytest.approx(0.1)
    assert rates.take("a", 0.5) == 0.0


def test_keys_have_buckets_of_their_own():
    rates: Rates[str] = Rates(1.0, 1)
    assert rates.take("a", 0.0) == 0.0
    assert rates.take("b", 0.0) == 0.0
    assert rates.take("a", 0.0) > 0


def test_the_least_used_key_is_forgotten():
    rates: Rates[int] = Rates(1.0, 1, most=10)
    for key in range(100):
        rates.take(key, 0.0)
    assert len(rates) == 10
    assert rates.take(99, 0.0) > 0
    assert rates.take(0, 0.0) == 0.0


def test_a_key_that_goes_on_asking_is_not_forgotten():
    rates: Rates[int] = Rates(1.0, 1, most=8)
    assert rates.take(0, 0.0) == 0.0
    for key in range(1, 100):
        rates.take(key, 0.0)
        assert rates.take(0, 0.0) > 0


@given(st.lists(st.floats(0, 10), max_size=60))
def test_no_more_than_burst_and_rate_allow(pauses):
    rates: Rates[str] = Rates(2.0, 5)
    now, taken = 100.0, 0
    for pause in pauses:
        now += pause
        taken += rates.take("a", now) == 0.0
    assert taken <= 5 + 2.0 * (now - 100.0) + 1e-6
