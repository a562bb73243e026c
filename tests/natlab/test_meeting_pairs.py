"""Every pair of NATs, with keynet's own processes: a byte stream by node id alone, via a seed.

One lab for all: each kind stands there twice, and each pair is one dial from a first to a second
one. Pairs that can be punched are dialled some at a time, so that they wait for the network and
not for the processor; those that cannot all at once, since they wait for their deadline.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.natlab.lab import Lab, nat
from tests.natlab.members import ROUND_TRIP, Crowd, Member
from tests.natlab.packets.behaviour import BY_PORT, INDEPENDENT
from tests.natlab.probing import Report

pytestmark = [pytest.mark.natlab, pytest.mark.timeout(300)]

PUBLIC = "public"
KINDS = (PUBLIC, "full-cone", "address-restricted", "port-restricted", "symmetric",
         "symmetric-sequential", "carrier-grade", "firewall")  # fmt: skip
BY_IPV6 = [("ipv6-firewall", "ipv6-firewall"), (PUBLIC, "ipv6-firewall"),
           ("ipv6-firewall", PUBLIC), ("symmetric-with-ipv6", "symmetric-with-ipv6"),
           ("ipv6-firewall", "symmetric-with-ipv6")]  # fmt: skip
PAIRS = [*((a, b) for a in KINDS for b in KINDS), *BY_IPV6]
QUICK = [("port-restricted", "port-restricted"), ("carrier-grade", "port-restricted"),
         ("symmetric", "address-restricted"),
         ("port-restricted", "symmetric"), ("ipv6-firewall", "ipv6-firewall")]  # fmt: skip
AT_ONCE = 3
"""Dials of pairs that can be punched."""
DEADLINE = ("--deadline", "6")
"""Seconds for a whole CONNECT, so that the pairs that cannot be punched are done sooner."""
PROMISE = 3.0
"""Seconds from CONNECT to the first byte."""

Pair = tuple[str, str]


def can_be_punched(a: str, b: str) -> bool:
    """By IPv6 always; else two that keep their port, or one that does and does not filter by it."""
    if (a, b) in BY_IPV6:
        return True

    def keeps_port(kind: str) -> bool:
        return kind == PUBLIC or nat(kind).behaviour.mapping == INDEPENDENT

    def is_open(kind: str) -> bool:
        return kind == PUBLIC or nat(kind).behaviour.filtering != BY_PORT

    if keeps_port(a) and keeps_port(b):
        return True
    return any(keeps_port(kind) and is_open(kind) for kind in (a, b))


def member(crowd: Crowd, kind: str) -> Member:
    if kind == PUBLIC:
        return crowd.member(None, *DEADLINE)
    name, _, ipv6 = kind.partition("-with-")
    return crowd.member(nat(name, ipv6=True if ipv6 else None), *DEADLINE)


def met(pairs: list[Pair], directory: Path) -> dict[Pair, Report]:
    """What came of each pair's dial; with `why` where there was no way."""
    with Lab(round_trip=ROUND_TRIP) as lab, Crowd(lab, directory) as crowd:
        crowd.seed(), crowd.seed()  # of two, nodes learn how their NATs map
        dialling = {kind: member(crowd, kind) for kind in {a for a, _ in pairs}}
        dialled = {kind: member(crowd, kind) for kind in {b for _, b in pairs}}
        crowd.ready()

        def dial(some: list[Pair]) -> dict[Pair, Report]:
            ways = {(a, b): (dialling[a], dialled[b]) for a, b in some}
            running = {
                pair: lab.spawn(one.host, one.dialling(other))
                for pair, (one, other) in ways.items()
            }
            return {pair: outcome(process) for pair, process in running.items()}

        possible = [pair for pair in pairs if can_be_punched(*pair)]
        batches = [possible[at : at + AT_ONCE] for at in range(0, len(possible), AT_ONCE)]
        batches.append([pair for pair in pairs if pair not in possible])
        reports = {pair: report for batch in batches for pair, report in dial(batch).items()}
        for (a, b), report in reports.items():
            if report["status"] != 200:
                report["why"] = dialling[a].asked("why", dialled[b].node_id)
        return reports


def outcome(process: subprocess.Popen[str]) -> Report:
    report: Report = json.loads(process.communicate(timeout=60)[0])
    return report


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, why_not: str | None, tmp_path_factory: pytest.TempPathFactory
) -> dict[Pair, Report]:
    """The outcomes of all pairs that this run has tests of, and of no others."""
    if why_not is not None:
        pytest.skip(why_not)
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    pairs: list[Any] = [
        one.callspec.params["pair"] for one in tests if one.originalname == "test_a_pair_meets"
    ]
    return met(pairs, tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(pair, id="+".join(pair), marks=() if pair in QUICK else pytest.mark.slow)
        for pair in PAIRS
    ],
)
def test_a_pair_meets(
    outcomes: dict[Pair, Report], pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    report = outcomes[pair]
    if can_be_punched(*pair):
        assert report["status"] == 200, report
        record_property("meeting", (*pair, f"{report['first_byte']:.2f} s"))
        assert report["intact"]
        assert report["first_byte"] < PROMISE
    else:
        record_property("meeting", (*pair, str(report["status"])))
        assert report["status"] in (503, 504)
        assert_is_explained(report["why"])


def assert_is_explained(why: Report) -> None:
    """`keynet why` names the peer's address, that nothing answers there, and the NAT at fault."""
    assert not why["connected"]
    assert "no answer from 21." in why["attempt"]["result"]
    fates = {(one["fate"], one["pings"] > 0) for one in why["attempt"]["addresses"]}
    assert fates == {("no answer", True)}
    assert "symmetric" in why["advice"][0]
