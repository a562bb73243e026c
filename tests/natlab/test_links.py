"""Slow and lossy access: delays are exact, losses and rates what was asked for."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from tests.natlab.lab import Host, Lab, Link, nat
from tests.natlab.probing import Reflector, Report, ask, probe

pytestmark = pytest.mark.natlab

ROUND_TRIP = 0.04


def ping(
    lab: Lab, host: Host, to: Reflector, count: int, interval: float, padding: int = 0
) -> Report:
    return ask(lab, host, probe("ping", to.host.ipv4, 3478, count, interval, padding))


@pytest.fixture
def slow_lab(possible: None) -> Iterator[Lab]:
    with Lab(round_trip=ROUND_TRIP) as lab:
        yield lab


def test_a_round_trip_is_as_long_as_asked_for(slow_lab: Lab) -> None:
    reflector = Reflector.start(slow_lab)
    homes = (None, nat("port-restricted"), nat("full-cone"), nat("carrier-grade"))
    for host in [slow_lab.host(behind=behind) for behind in homes]:
        times = ping(slow_lab, host, reflector, 50, 0.01)["times"]
        print(f"{host.name}: {1000 * min(times):.2f} to {1000 * statistics.median(times):.2f} ms")
        assert ROUND_TRIP <= min(times) < ROUND_TRIP + 0.01
        assert statistics.median(times) < ROUND_TRIP + 0.01, "a busy machine is late itself"


def test_loss_comes_and_goes(lab: Lab) -> None:
    reflector, home = Reflector.start(lab), lab.home(nat("port-restricted"))
    host = lab.host(behind=home)
    ping(lab, host, reflector, 1, 0)  # neighbours are found: a lost question would take seconds
    for what in (host, home):
        lab.lose(what, 0.2)
        times = ping(lab, host, reflector, 1000, 0.0005)["times"]
        lost = times.count(None) / len(times)
        assert 0.26 < lost < 0.46, "0.36 is expected of two passes, and six deviations are 0.09"
        lab.lose(what, 0)
        assert None not in ping(lab, host, reflector, 100, 0.0005)["times"]


def test_a_cut_cable(lab: Lab) -> None:
    reflector, host = Reflector.start(lab), lab.host()
    lab.lose(host, 1)
    assert ping(lab, host, reflector, 5, 0.01)["times"] == [None] * 5
    lab.lose(host, 0)
    assert None not in ping(lab, host, reflector, 5, 0.01)["times"]


def test_a_rate_holds(lab: Lab) -> None:
    """The packets are 1142 bytes as the wire counts them: 14 of Ethernet, 28 of IP and UDP."""
    reflector = Reflector.start(lab)
    host = lab.host(link=Link(rate=500_000))
    ping(lab, host, reflector, 1, 0)  # neighbours are found; the kernel holds few packets till then
    report = ping(lab, host, reflector, 200, 0, padding=1072)
    assert None not in report["times"]
    sent = 200 * (14 + 28 + len('{"id": 100, "padding": ""}') + 1072)
    assert 0.95 * sent / 500_000 < report["took"] < 1.3 * sent / 500_000


def test_jitter_lets_packets_overtake_each_other(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    host = lab.host(link=Link(delay=0.005, jitter=0.02))
    report = ping(lab, host, reflector, 200, 0.001)
    assert report["order"] != sorted(report["order"])
    assert None not in report["times"]
    assert 0.01 <= min(report["times"]) <= max(report["times"]) < 0.2
