"""Steady thin traffic is gathered; requests, small datagrams and bulk are left alone."""

from __future__ import annotations

from keynet.udp.thin import ThinTraffic, UnmergedTraffic


def drive(
    policy: ThinTraffic, arrivals: float, size: int, seconds: float, began: float = 0.0
) -> tuple[int, int]:
    """An open stream: a datagram every `arrivals` seconds. Returns wake-ups and pauses."""
    now, waiting_since, wakeups, pauses = began, began, 0, 0
    while now < began + seconds:
        now = max(now + 20e-6, waiting_since + arrivals)
        count = max(1, int((now - waiting_since) / arrivals))
        waiting_since += count * arrivals
        wakeups += 1
        pause = policy.after(now, count * size, size)
        pauses += bool(pause)
        now += pause
    return wakeups, pauses


def test_a_steady_thin_stream_wakes_the_loop_several_times_less():
    unpaused = int(0.5 / 120e-6)
    wakeups, pauses = drive(ThinTraffic(), 120e-6, 1472, 0.5)
    assert pauses > wakeups / 2
    assert wakeups < unpaused / 3


def test_small_datagrams_never_pause():
    assert drive(ThinTraffic(), 50e-6, 200, 0.5)[1] == 0


def test_rare_datagrams_never_pause():
    assert drive(ThinTraffic(), 600e-6, 1472, 0.5)[1] == 0
    assert drive(ThinTraffic(), 450e-6, 1472, 0.5)[1] == 0, "too little would gather"


def test_bulk_never_pauses():
    policy = ThinTraffic()
    assert not any(policy.after(i * 100e-6, 65000, 1472) for i in range(1000))


def closed_loop(policy: ThinTraffic, seconds: float) -> int:
    """A request every 200 us that waits for its answer: it slows when paused. The pauses."""
    now, pauses = 0.0, 0
    while now < seconds:
        pause = policy.after(now, 1472, 1472)
        pauses += bool(pause)
        now += pause + 200e-6
    return pauses


def test_a_peer_that_waits_for_answers_is_left_alone_ever_longer():
    tries = ThinTraffic.JUDGED
    assert tries <= closed_loop(ThinTraffic(), 1.0) <= 4 * tries
    assert closed_loop(ThinTraffic(), 20.0) <= 15 * tries


def test_a_stream_that_grows_to_bulk_is_no_longer_paused():
    policy = ThinTraffic()
    drive(policy, 120e-6, 1472, 0.1)
    assert not any(policy.after(1.0 + i * 1e-4, 200000, 1472) for i in range(100))


def pauses_of_bulk(policy: ThinTraffic) -> int:
    """A sender at 94 MB/s, heard whenever it has sent 75 kB."""
    now, pauses = 0.0, 0
    for _ in range(500):
        pause = policy.after(now, 75_000 + pauses % 2 * 94_000, 1472)
        pauses += bool(pause)
        now += 0.0008 + pause
    return pauses


def test_unmerged_bulk_is_gathered_and_merged_bulk_is_not():
    assert pauses_of_bulk(UnmergedTraffic()) > 300
    assert pauses_of_bulk(ThinTraffic()) == 0


def test_unmerged_requests_are_left_alone():
    assert drive(UnmergedTraffic(), 600e-6, 1472, 0.5)[1] == 0
    assert drive(UnmergedTraffic(), 50e-6, 200, 0.5)[1] == 0
