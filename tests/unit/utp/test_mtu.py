"""The search for the packet size: it ends, it survives any loss, and no probe is ever forgotten."""

from __future__ import annotations

import pytest

from keynet.transport.utp.mtu import (
    BASE_SIZE,
    MAX_JUMBO_PROBES,
    MAX_PROBES,
    RAISE_INTERVAL,
    RETRY_INTERVAL,
    PathMtu,
)

START = 1000.0
ANY = 1 << 20
"""The sender may send packets of any size."""


def search(mtu: PathMtu, path: int, *, until: float) -> list[int]:
    """Probe whenever it may be, on a path that takes `path` bytes; returns the sizes probed."""
    probed, now = [], START
    while now < until:
        if size := mtu.probe_size(now, ANY):
            probed.append(size)
            mtu.probe_sent(size, now)
            assert mtu.probe_size(now, ANY) == 0, "two probes at once"
            if size <= path:
                mtu.probe_acked(size, now + 0.05)
            else:
                mtu.probe_lost(size, now + 0.05)
        now += 0.1
    return probed


def test_one_success_at_the_ceiling_ends_it() -> None:
    mtu = PathMtu(BASE_SIZE, 1472)
    assert search(mtu, 1472, until=START + 60) == [1472]
    assert mtu.size == 1472


@pytest.mark.parametrize(("path", "found"), [(1400, 1392), (1452, 1452), (1232, 1232)])
def test_smaller_sizes_get_their_turn(path: int, found: int) -> None:
    mtu = PathMtu(BASE_SIZE, 1472)
    probed = search(mtu, path, until=START + 60)
    assert mtu.size == found
    assert probed.count(1472) == MAX_PROBES
    assert probed == sorted(probed, reverse=True)


def test_jumbo_sizes_are_given_up_sooner() -> None:
    mtu = PathMtu(BASE_SIZE, 65507)
    probed = search(mtu, 8952, until=START + 60)
    assert mtu.size == 8952
    assert probed == [1472] + [65507] * MAX_JUMBO_PROBES + [8952]


def test_what_failed_is_tried_again_much_later() -> None:
    mtu = PathMtu(BASE_SIZE, 1472)
    search(mtu, 1300, until=START + 30)
    assert mtu.size == BASE_SIZE
    assert mtu.probe_size(START + 60, ANY) == 0
    assert mtu.probe_size(START + 30 + RAISE_INTERVAL, ANY) == 1472


def test_nothing_is_probed_at_the_ceiling() -> None:
    mtu = PathMtu(1472, 1472)
    assert mtu.probe_size(START, ANY) == 0
    mtu.raise_ceiling(1400)
    assert mtu.probe_size(START, ANY) == 0
    mtu.raise_ceiling(8952)
    assert mtu.probe_size(START, ANY) == 8952


def test_a_probe_that_nothing_is_heard_of_does_not_end_the_search() -> None:
    """Its stream may be gone: reset, or its last packet was sent again as a tail-loss probe."""
    mtu = PathMtu(BASE_SIZE, 1472)
    mtu.probe_sent(mtu.probe_size(START, ANY), START)
    assert mtu.probe_size(START + 0.5, ANY) == 0
    later = START + 60
    assert mtu.probe_size(later, ANY) in (0, 1472)
    assert mtu.probe_size(later + RETRY_INTERVAL, ANY) == 1472


def test_a_probe_of_the_old_path_says_nothing_of_the_new_one() -> None:
    mtu = PathMtu(BASE_SIZE, 8952)
    mtu.probe_sent(8952, START)
    mtu.path_changed(1200, START)
    mtu.probe_acked(8952, START + 0.1)
    assert mtu.size == 1200
    mtu.probe_lost(8952, START + 0.1)
    assert mtu.probe_size(START + 0.1, ANY) == 1472


def test_after_a_black_hole_it_starts_small_and_searches_again() -> None:
    mtu = PathMtu(8952, 8952)
    mtu.black_hole(START)
    assert mtu.size == BASE_SIZE
    assert mtu.probe_size(START, ANY) == 0
    assert mtu.probe_size(START + RETRY_INTERVAL, ANY) == 1472
    search(mtu, 8952, until=START + 60)
    assert mtu.size == 8952


def test_what_may_not_be_sent_yet_is_passed_over_and_not_forgotten() -> None:
    """A slow path's window has no room for the largest; it must not keep the others from use."""
    mtu = PathMtu(BASE_SIZE, 65507)
    assert mtu.probe_size(START, 1300) == 0
    for most, size in ((5000, 1472), (5000, 4052), (20_000, 8952), (64_000, 0), (70_000, 65507)):
        assert mtu.probe_size(START, most) == size
        if size:
            mtu.probe_sent(size, START)
            mtu.probe_acked(size, START)
    assert mtu.size == 65507


def test_a_small_path_never_grows_by_a_black_hole() -> None:
    mtu = PathMtu(1100, 1472)
    mtu.black_hole(START)
    assert mtu.size == 1100
