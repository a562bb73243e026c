"""Seeds that die and come back: links live on without them, and new ones need but one of them."""

from __future__ import annotations

import pytest

from tests.natlab.lab import nat
from tests.natlab.members import Crowd
from tests.natlab.steered import conversation

pytestmark = [pytest.mark.natlab, pytest.mark.timeout(120)]

NEWS = 3.0
"""Seconds from CONNECT to the first byte, as ever."""


@pytest.mark.slow
def test_a_link_outlives_its_seed_and_a_seed_that_comes_back_is_joined_again(crowd: Crowd) -> None:
    seed = crowd.seed()
    a, b = (crowd.member(nat("port-restricted")) for _ in range(2))
    crowd.ready()
    stream = conversation(a, b)
    assert stream.do("say 1000")["intact"]
    seed.kill()
    for member in (a, b):
        member.event("connection_lost", peer=str(seed.node_id))
        member.event("seed_changed", registered=False)
    assert stream.do("say 1000")["intact"]
    assert a.dial(b)["status"] == 200, "over the link that is there"
    seed.start_again()
    for member in (a, b):
        event = member.event("seed_changed", registered=True)
        assert event["seed"] == str(seed.node_id)
    late = crowd.member(nat("port-restricted"))
    crowd.ready(late)
    assert late.dial(a)["first_byte"] < NEWS
    assert stream.do("say 1000")["intact"]


@pytest.mark.slow
def test_one_of_two_seeds_is_enough(crowd: Crowd) -> None:
    """It need not even be known yet that the other one is dead."""
    first, second = crowd.seed(), crowd.seed()
    a, b = (crowd.member(nat("port-restricted")) for _ in range(2))
    crowd.ready()
    first.kill()
    report = a.dial(b)
    print(report)
    assert report["status"] == 200
    assert report["first_byte"] < NEWS
    c = crowd.member(nat("port-restricted"), seeds=[second])
    crowd.ready(c)
    assert c.dial(a)["first_byte"] < NEWS


@pytest.mark.slow
def test_nodes_of_different_seeds_meet_where_one_knows_both(crowd: Crowd) -> None:
    first, second = crowd.seed(), crowd.seed()
    a = crowd.member(nat("port-restricted"), seeds=[first])
    b = crowd.member(nat("port-restricted"), seeds=[second])
    both = crowd.member(nat("port-restricted"))
    crowd.ready()
    assert both.dial(a)["status"] == both.dial(b)["status"] == 200
    assert a.dial(both)["status"] == 200
    assert a.dial(b)["status"] == 404, "no seed that it knows has heard of it"
