"""Every kind of NAT is what it says, by a classifier that knows nothing of the lab or of keynet."""

from __future__ import annotations

import pytest

from tests.natlab.lab import KINDS, Lab, Nat, nat
from tests.natlab.probing import Reflector, Report, classified, expected

pytestmark = pytest.mark.natlab

TIMED = ("port-restricted", "symmetric", "full-cone", "symmetric-sequential",
         "carrier-grade", "firewall", "ipv6-firewall")  # fmt: skip
"""Kinds of each way in which time-outs are made: two of nftables, two of user space, both in a
row, and the firewalls."""


def reports(lab: Lab, kinds: list[Nat], *, lifetime: float = 0) -> list[Report]:
    """A host behind each, and what the classifier says in all of them at the same time."""
    reflector = Reflector.start(lab)
    hosts = [(lab.host(behind=kind), kind) for kind in kinds]
    commands = [reflector.classify(host, kind, lifetime=lifetime) for host, kind in hosts]
    return classified(commands, timeout=30 + 3 * lifetime)


@pytest.fixture(scope="module")
def report_of(why_not: str | None) -> dict[str, Report]:
    """The report on every kind."""
    if why_not is not None:
        pytest.skip(why_not)
    with Lab() as lab:
        return dict(zip(KINDS, reports(lab, [nat(kind) for kind in KINDS]), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_nat_is_what_its_kind_says(report_of: dict[str, Report], kind: str) -> None:
    assert report_of[kind] == expected(nat(kind))


def test_hairpinning_can_be_had_with_other_kinds(lab: Lab) -> None:
    kinds = [nat("full-cone", hairpin=True), nat("address-restricted", hairpin=True)]
    assert reports(lab, kinds) == [expected(kind) for kind in kinds]


def test_ipv6_can_be_had_with_any_kind(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    kind = nat("full-cone", ipv6=True)
    host = lab.host(behind=kind)
    by_each = [reflector.classify(host, kind), reflector.classify(host, nat("ipv6-firewall"))]
    assert classified(by_each, timeout=30) == [expected(kind), expected(nat("ipv6-firewall"))]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("timeout", [5, 30])
def test_a_mapping_is_forgotten_when_its_time_is_up(lab: Lab, timeout: int) -> None:
    kinds = [nat(kind, timeout=timeout) for kind in TIMED]
    for kind, report in zip(TIMED, reports(lab, kinds, lifetime=timeout), strict=True):
        assert report["lifetime"] == [0.9 * timeout, 1.1 * timeout], kind


def test_a_name_that_is_no_kind() -> None:
    with pytest.raises(ValueError, match="choose from full-cone, "):
        nat("conical")
