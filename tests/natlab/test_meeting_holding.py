"""Links that hold: through NATs that forget and reboot, over poor wires, and without any seed."""

from __future__ import annotations

import time

import pytest

from tests.natlab.lab import Home, Host, Link, nat
from tests.natlab.members import Crowd
from tests.natlab.probing import Report
from tests.natlab.steered import conversation

pytestmark = [pytest.mark.natlab, pytest.mark.timeout(120)]


def home_of(host: Host) -> Home:
    assert host.home is not None
    return host.home


def lost(events: list[Report]) -> list[str]:
    """Why connections were lost, if any were."""
    return [one["reason"] for one in events if one["event"] == "connection_lost" and one["reason"]]


def test_without_any_seed_where_both_sides_know_the_other_address(crowd: Crowd) -> None:
    """Both NATs filter by port: neither side's datagrams pass until both send."""
    hosts = [crowd.lab.host(behind=nat("port-restricted")) for _ in range(2)]
    known = [crowd.address(host, home_of(host).wan.addresses.ipv4) for host in hosts]
    a, b = (crowd.on(host, "--peer", peer) for host, peer in zip(hosts, known[::-1], strict=True))
    crowd.ready()
    for one, other in ((a, b), (b, a)):
        report = one.dial(other)
        print(report)
        assert (report["status"], report["intact"]) == (200, True)


@pytest.mark.slow
def test_a_nat_that_forgets_after_5_s_is_held_by_a_setting(crowd: Crowd) -> None:
    is_held(crowd, forgets_after=5, idle=13, flags=("--consent-interval", "2"))


@pytest.mark.slow
def test_a_nat_that_forgets_after_30_s_is_held_by_default(crowd: Crowd) -> None:
    is_held(crowd, forgets_after=30, idle=40)


def is_held(crowd: Crowd, *, forgets_after: int, idle: float, flags: tuple[str, ...] = ()) -> None:
    """A stream that rests longer than its NATs remember goes on as if nothing had been."""
    crowd.seed()
    a, b = (crowd.member(nat("port-restricted", timeout=forgets_after), *flags) for _ in range(2))
    crowd.ready()
    stream = conversation(a, b)
    assert stream.do("say 1000")["intact"]
    time.sleep(idle)
    report = stream.do("say 1000")
    assert report["intact"]
    assert report["seconds"] < 0.5, "or a path had to be found again"
    for events in (a.stopped(), b.stopped()):
        assert not lost(events)
        assert not {"peer_silent", "path_changed"} & {one["event"] for one in events}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "who"),
    [
        pytest.param(("port-restricted", "port-restricted"), 0, id="dialer"),
        pytest.param(("port-restricted", "port-restricted"), 1, id="listener"),
        pytest.param(("carrier-grade", "full-cone"), 0, id="carrier-grade"),
        pytest.param(("symmetric", "full-cone"), 0, id="symmetric"),
    ],
)
def test_a_stream_goes_on_when_a_nat_reboots(
    crowd: Crowd, kinds: tuple[str, str], who: int
) -> None:
    """It comes back with another public address, and every mapping is forgotten."""
    crowd.seed()
    members = [crowd.member(nat(kind)) for kind in kinds]
    crowd.ready()
    stream = conversation(*members)
    stream.order("flow 9")
    assert stream.answer() == {"flowing": True}
    time.sleep(1.5)
    home = home_of(members[who].host)
    home = home.behind or home
    home.reboot()
    report = stream.answer()
    print(report)
    assert report["intact"]
    assert 1 < report["longest_pause"] < 15, "or the reboot disturbed nobody"
    moved_to = str(home.wan.addresses.ipv4)
    changed = members[1 - who].event("path_changed", peer=str(members[who].node_id))
    assert changed["remote"].startswith(f"{moved_to}:")
    assert not lost(members[1 - who].stopped())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["lossy", "slow"])
def test_poor_wires_are_no_obstacle(crowd: Crowd, what: str) -> None:
    crowd.seed()
    link = Link(delay=0.1, jitter=0.03, rate=250_000) if what == "slow" else None
    a, b = (crowd.member(nat("port-restricted"), link=link) for _ in range(2))
    crowd.ready()
    for member in (a, b) if what == "lossy" else ():
        crowd.lab.lose(home_of(member.host), 0.05)
    report = a.dial(b, 50_000)
    print(f"{what}: {report}")
    assert (report["status"], report["intact"]) == (200, True)
