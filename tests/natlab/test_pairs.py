"""Which pairs of NATs the plainest hole punching gets through: what the lab is there to tell.

Each side knows nothing but the endpoint that a reflector sees the other as, and answers to where
packets come from. No prediction, no relay, no host candidates.
"""

from __future__ import annotations

import itertools
import json
import time

import pytest

from tests.natlab.lab import Host, Lab, nat
from tests.natlab.packets.behaviour import BY_PORT, INDEPENDENT
from tests.natlab.probing import Reflector, probe

pytestmark = pytest.mark.natlab

PATIENCE = 2.0
"""Seconds that each side tries. A pair that can be punched needs a tenth of a second."""
MOST_AT_ONCE = 12
"""Pairs; more of them would wait for the processor and not for the network."""
PUBLIC = "public"
KINDS = (PUBLIC, "full-cone", "address-restricted", "port-restricted", "firewall",
         "carrier-grade", "address-dependent", "symmetric", "symmetric-sequential")  # fmt: skip
PAIRS = [f"{a}+{b}" for a, b in itertools.combinations_with_replacement(KINDS, 2)]

Pair = tuple[Host, Host]


def punched(
    lab: Lab, reflector: tuple[str, ...], pairs: list[Pair], *, apart: float = 0
) -> list[bool]:
    """Whether each pair gets through; all try at the same time, second sides `apart` seconds
    after the first."""
    command = probe("punch", reflector[0], reflector[2], PATIENCE)
    running = [[lab.spawn(host, command) for host in pair] for pair in pairs]
    seen = [[side.stdout.readline() for side in sides if side.stdout] for sides in running]
    for first in (True, False):
        for sides, endpoints in zip(running, seen, strict=True):
            side, peer = (sides[0], endpoints[1]) if first else (sides[1], endpoints[0])
            assert side.stdin is not None
            side.stdin.write(peer)
            side.stdin.flush()
        time.sleep(apart if first else 0)
    results = [[json.loads(side.communicate(timeout=30)[0])["direct"] for side in sides]
               for sides in running]  # fmt: skip
    return [all(sides) for sides in results]


def gets_through(a: str, b: str) -> bool:
    """Between two that keep their port, always; else one must keep it and not filter by port."""

    def keeps_port(kind: str) -> bool:
        return kind == PUBLIC or nat(kind).behaviour.mapping == INDEPENDENT

    def is_open(kind: str) -> bool:
        return kind == PUBLIC or nat(kind).behaviour.filtering != BY_PORT

    if keeps_port(a) and keeps_port(b):
        return True
    return any(keeps_port(kind) and is_open(kind) for kind in (a, b))


@pytest.fixture(scope="module")
def outcomes(why_not: str | None) -> dict[str, bool]:
    """The outcome of every pair."""
    if why_not is not None:
        pytest.skip(why_not)
    with Lab(round_trip=0.04) as lab:
        reflector = Reflector.start(lab)
        sides = [
            {kind: lab.host(behind=None if kind == PUBLIC else nat(kind)) for kind in KINDS}
            for _ in range(2)
        ]
        results: list[bool] = []
        for begin in range(0, len(PAIRS), MOST_AT_ONCE):
            names = [pair.split("+") for pair in PAIRS[begin : begin + MOST_AT_ONCE]]
            pairs = [(sides[0][a], sides[1][b]) for a, b in names]
            results += punched(lab, reflector.ipv4, pairs)
        return dict(zip(PAIRS, results, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair(outcomes: dict[str, bool], pair: str) -> None:
    assert outcomes[pair] == gets_through(*pair.split("+"))


def test_packets_that_come_too_early_do_no_harm(lab: Lab) -> None:
    """A router that kept what it knows nothing of would give the late side another port."""
    reflector = Reflector.start(lab)
    kinds = ("port-restricted", "carrier-grade", "firewall", "address-restricted")
    pairs = [(lab.host(behind=nat(kind)), lab.host(behind=nat(kind))) for kind in kinds]
    assert punched(lab, reflector.ipv4, pairs, apart=0.5) == [True] * len(kinds)


def test_ipv6_firewalls_are_no_obstacle(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    behind = [lab.host(behind=nat("ipv6-firewall")) for _ in range(2)]
    pairs = [(behind[0], behind[1]), (behind[0], lab.host())]
    assert punched(lab, reflector.ipv6, pairs) == [True, True]


@pytest.mark.parametrize("hairpin", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_neighbours_meet_by_their_public_addresses_where_the_nat_hairpins(
    lab: Lab, hairpin: bool
) -> None:
    reflector = Reflector.start(lab)
    carrier = lab.home(nat("carrier", hairpin=hairpin))
    homes = [lab.home(nat("port-restricted"), behind=carrier) for _ in range(2)]
    shared = lab.home(nat("port-restricted", hairpin=hairpin))
    pairs = [
        (lab.host(behind=homes[0]), lab.host(behind=homes[1])),
        (lab.host(behind=shared), lab.host(behind=shared)),
    ]
    assert punched(lab, reflector.ipv4, pairs) == [hairpin, hairpin]
