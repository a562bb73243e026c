"""The three controllers on a simulated bottleneck: throughput, queues, sharing, recovery."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.transport.utp.congestion import ALGORITHMS, Acked, CongestionControl, Lost, create

from .bottleneck import MSS, Flow, Link, Simulation

every_algorithm = pytest.mark.parametrize("name", sorted(ALGORITHMS))


def control(name: str, seed: int = 1) -> CongestionControl:
    return create(name, MSS, 0.0, Random(seed))


def run(name: str, link: Link, seconds: float, *, seed: int = 1, wake_every: float = 0.001) -> Flow:
    flow = Flow(control(name, seed), wake_every=wake_every)
    Simulation(link, flow).run(seconds)
    return flow


@every_algorithm
@pytest.mark.parametrize("wake_every", [0.002, 0.012])
def test_a_clean_link_is_used(name: str, wake_every: float) -> None:
    link = Link(rate=3e6, delay=0.04, queue=150e3)
    flow = run(name, link, 8, wake_every=wake_every)
    assert flow.rate(2, 8) > 0.85 * link.rate
    assert flow.timeouts == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_bbr_keeps_its_rate_at_one_percent_loss(seed: int) -> None:
    link = Link(rate=25e6, delay=0.05, queue=1.25e6, loss=0.01, seed=seed)
    flow = run("bbr", link, 6, seed=seed)
    assert flow.rate(1, 6) > 0.93 * link.rate


def test_the_same_loss_does_hurt_cubic() -> None:
    """Or the simulator would prove nothing about BBR."""
    link = Link(rate=25e6, delay=0.05, queue=1.25e6, loss=0.01)
    assert run("cubic", link, 4).rate(2, 4) < 0.2 * link.rate


def test_bbr_leaves_a_deep_queue_mostly_empty() -> None:
    deep = {"rate": 3e6, "delay": 0.03, "queue": 9e5}
    bbr, cubic = Link(**deep), Link(**deep)
    assert run("bbr", bbr, 8, wake_every=0.002).rate(2, 8) > 0.85 * bbr.rate
    run("cubic", cubic, 5, wake_every=0.002)
    assert fmean(bbr.delays) < 0.010
    assert fmean(cubic.delays) > 3 * fmean(bbr.delays)


@pytest.mark.parametrize("rate", [6e5, 2e6])
def test_ledbat_holds_the_queue_near_its_target(rate: float) -> None:
    link = Link(rate=rate, delay=0.04, queue=rate * 0.6)
    run("ledbat", link, 20, wake_every=0.004)
    late = link.delays[len(link.delays) // 2 :]
    assert 0.03 < fmean(late) < 0.11
    assert max(late) < 0.15


@pytest.mark.parametrize(
    ("first", "second"),
    [("bbr", "bbr"), ("cubic", "cubic"), ("bbr", "cubic"), ("cubic", "bbr")],
)
@pytest.mark.parametrize("queue", [0.3, 1.0])
def test_neither_of_two_flows_starves(first: str, second: str, queue: float) -> None:
    link = Link(rate=2e6, delay=0.04, queue=queue * 80e3)
    one = Flow(control(first, 1), wake_every=0.004)
    two = Flow(control(second, 2), wake_every=0.004, start=1.0)
    Simulation(link, one, two).run(16)
    shares = [flow.rate(8, 16) / link.rate for flow in (one, two)]
    assert min(shares) > 0.15
    assert sum(shares) > 0.85


def test_ledbat_yields_to_cubic() -> None:
    link = Link(rate=1.5e6, delay=0.04, queue=600e3)
    background, foreground = (
        Flow(control(name), start=start, wake_every=0.003)
        for name, start in (("ledbat", 0.0), ("cubic", 3.0))
    )
    Simulation(link, background, foreground).run(20)
    assert foreground.rate(12, 20) > 2 * background.rate(12, 20)


@every_algorithm
def test_thin_traffic_does_not_ratchet_down(name: str) -> None:
    link = Link(rate=3e6, delay=0.04, queue=120e3)
    flow = Flow(control(name), wake_every=0.003)
    simulation = Simulation(link, flow)
    simulation.run(4)
    before, sent = flow.control.window, flow.sent
    flow.supply = lambda now: sent + 300e3 * (now - 4)
    simulation.run(12)
    assert flow.control.window > 0.4 * before
    flow.supply = lambda _now: math.inf
    simulation.run(14.5)
    assert flow.rate(12.3, 14.5) > 0.8 * link.rate


@every_algorithm
def test_thin_traffic_does_not_inflate_the_window(name: str) -> None:
    flow = Flow(control(name), supply=lambda now: 100e3 * now)
    Simulation(Link(rate=5e6, delay=0.04, queue=200e3), flow).run(10)
    assert flow.control.window < 64 * 1024


@every_algorithm
def test_recovery_after_the_path_was_dead(name: str) -> None:
    link = Link(rate=2e6, delay=0.04, queue=80e3)
    flow = Flow(control(name), wake_every=0.003)
    simulation = Simulation(link, flow)
    simulation.run(4)
    link.loss = 1.0
    simulation.run(6.5)
    assert flow.timeouts > 0
    assert flow.control.window < 20 * MSS
    link.loss = 0.0
    simulation.run(12)
    assert flow.rate(8, 12) > 0.85 * link.rate


@every_algorithm
@pytest.mark.parametrize(("rate", "delay"), [(5e6, 0.02), (5e5, 0.2)])
def test_another_path_is_measured_anew(name: str, rate: float, delay: float) -> None:
    link = Link(rate=2e6, delay=0.06, queue=120e3)
    flow = Flow(control(name), wake_every=0.003)
    simulation = Simulation(link, flow)
    simulation.run(4)
    link.rate, link.delay, link.queue = rate, delay, rate * delay
    flow.control.on_path_changed(4.0, MSS)
    flow.min_rtt = math.inf
    assert flow.control.window <= 10 * MSS
    simulation.run(11)
    assert flow.rate(7, 11) > 0.8 * rate


@pytest.mark.parametrize("rate", [180e6, 700e6])
@pytest.mark.parametrize("wake_every", [0.0003, 0.002])
def test_bbr_is_no_limit_between_neighbours(rate: float, wake_every: float) -> None:
    """Loopback and veth: a round trip of 100 us, and wake-ups that take far longer."""
    flow = run("bbr", Link(rate=rate, delay=0.0001, queue=8e6), 0.12, wake_every=wake_every)
    assert flow.rate(0.03, 0.12) > 0.95 * rate
    assert flow.control.pacing_rate == math.inf
    assert flow.control.window > 1_000_000


finite = {"allow_nan": False, "allow_infinity": False}
events = st.lists(
    st.tuples(
        st.sampled_from(["ack"] * 6 + ["loss"] * 3 + ["timeout", "spurious", "path", "idle"]),
        st.floats(0.0, 3.0, **finite),
        st.integers(0, 10_000_000),
        st.floats(0.0, 1e13, **finite),
        st.one_of(st.none(), st.floats(1e-9, 100.0, **finite)),
        st.one_of(st.none(), st.floats(-5000.0, 5000.0, **finite)),
        st.booleans(),
    ),
    max_size=60,
)


@every_algorithm
@given(events=events, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_sequence_of_news_breaks_a_controller(
    name: str,
    events: list[tuple[str, float, int, float, float | None, float | None, bool]],
    seed: int,
) -> None:
    flow = control(name, seed)
    now = delivered = prior = 0
    for kind, step, size, rate, rtt, delay, limited in events:
        now += step
        match kind:
            case "ack":
                prior, delivered = delivered, delivered + size
                flow.on_ack(
                    Acked(
                        now=now,
                        newly_acked=size,
                        in_flight=size // 2,
                        rtt=rtt,
                        delay=delay,
                        delivered=delivered,
                        prior_delivered=prior,
                        delivery_rate=rate,
                        interval=step,
                        app_limited=limited,
                        tx_in_flight=size,
                        lost=size // 7 if limited else 0,
                        window_limited=not limited,
                        sent_at=now - (rtt or 0.0),
                    )
                )
            case "loss":
                flow.on_loss(Lost(now, size, now - step, 0, size * 2, size, prior, limited))
            case "timeout":
                flow.on_timeout(now)
            case "spurious":
                flow.on_spurious_loss(now)
            case "path":
                flow.on_path_changed(now, 1200 + size % 60_000)
            case "idle":
                flow.on_send(now, size, 0, limited)
        assert 2 * flow.mss <= flow.window < 1 << 62
        assert flow.pacing_rate > 0.0
        assert not math.isnan(flow.pacing_rate)
