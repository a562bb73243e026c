"""Who learns what, and when, as peers die and cables are cut: within 15 s, each with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.natlab.lab import nat
from tests.natlab.members import Crowd, Member
from tests.natlab.steered import conversation

pytestmark = [pytest.mark.natlab, pytest.mark.timeout(120)]

PROMISE = 15.0
"""Seconds from the last sign of life until everybody concerned knows."""
SLACK = 2.0
"""For a busy machine, and for what was under way."""
NO_PATH = (503, 504)


def two(crowd: Crowd) -> tuple[Member, Member]:
    crowd.seed()
    a, b = (crowd.member(nat("port-restricted")) for _ in range(2))
    crowd.ready()
    return a, b


def is_own(reason: str) -> bool:
    """Whether a loss is said to be this node's own network's, and not the peer's."""
    assert "own network" in reason or "has not been heard" in reason
    return "own network" in reason


def refused(member: Member, peer: Member) -> bool:
    """Whether a CONNECT to a peer that is away is told so in time."""
    report = member.dial(peer)
    print(report)
    return report["status"] in NO_PATH


@pytest.mark.slow
def test_a_peer_that_is_killed(crowd: Crowd) -> None:
    a, b = two(crowd)
    stream = conversation(a, b)
    assert stream.do("say 100")["intact"]
    died_at = time.monotonic()
    b.kill()
    report = stream.do("end")
    assert not is_own(*a.loses(b))
    assert time.monotonic() - died_at < PROMISE + SLACK
    assert report["seconds"] < PROMISE + SLACK
    assert refused(a, b)
    b.start_again()
    crowd.ready(b)
    assert a.dial(b)["status"] == 200


@pytest.mark.slow
def test_a_cable_that_is_cut_and_mended(crowd: Crowd) -> None:
    a, b = two(crowd)
    stream = conversation(a, b)
    assert stream.do("say 100")["intact"]
    cut_at = time.monotonic()
    crowd.lab.lose(b.host, 1)
    assert stream.do("end")["seconds"] < PROMISE + SLACK
    assert not is_own(*a.loses(b))
    assert all(is_own(reason) for reason in b.loses(a, *crowd.seeds))
    assert time.monotonic() - cut_at < PROMISE + SLACK
    assert refused(a, b)
    crowd.lab.lose(b.host, 0)
    b.event("connection_opened", peer=str(crowd.seeds[0].node_id))
    assert a.dial(b)["status"] == b.dial(a)["status"] == 200
    a.event("connection_opened", peer=str(b.node_id))


def test_a_cable_that_is_mended_in_time(crowd: Crowd) -> None:
    """Streams wait for it; both sides are told that the other fell silent, and is heard again."""
    a, b = two(crowd)
    stream = conversation(a, b)
    assert stream.do("say 100")["intact"]
    crowd.lab.lose(a.host, 1)
    stream.order("say 1000")
    for one, other in ((a, b), (b, a)):
        one.event("peer_silent", peer=str(other.node_id))
    crowd.lab.lose(a.host, 0)
    for one, other in ((a, b), (b, a)):
        one.event("peer_heard", peer=str(other.node_id))
    assert stream.answer()["intact"]


def _down(member: Member) -> None:
    member.lab.exec(member.host, ["ip", "link", "set", "net", "down"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(_down, id="interface"),
        pytest.param(lambda member: member.lab.lose(member.host.home, 1), id="provider"),
    ],
)
def test_ones_own_network_that_is_down(crowd: Crowd, fail: Callable[[Member], None]) -> None:
    """It is told apart from a peer that is gone, on both sides."""
    a, b = two(crowd)
    assert a.dial(b)["status"] == 200
    fail(a)
    assert is_own(*a.loses(b))
    assert not is_own(*b.loses(a))
