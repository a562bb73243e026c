"""Every installed transport, found as users find it, keeps every rule."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from random import Random

import pytest

from keynet import plugins
from keynet.testing.pytest_plugin import TransportConformance
from keynet.testing.transport import CHECKS, Check, NotApplicable, RuleBroken, TransportFactory
from keynet.testing.transport.scene import ORDER
from keynet.transport.api import Capability, Transport

ON_NETWORKS = [check for check in CHECKS if check.rule.startswith("T-2")]
"""What goes over a network with faults, where a congestion controller matters."""


def utp(congestion: str) -> TransportFactory:
    factory = plugins.load("keynet.transport", "utp")
    return functools.partial(factory, congestion=congestion, random=Random(1))


class TestUtp(TransportConformance):
    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        return utp("bbr")


@pytest.mark.parametrize("congestion", ["cubic", "ledbat"])
@pytest.mark.parametrize("check", ON_NETWORKS, ids=lambda check: f"{check.rule}-{check.name}")
def test_other_congestion_controllers(check: Check, congestion: str) -> None:
    check(utp(congestion))


class TestLoopback(TransportConformance):
    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        return plugins.load("keynet.transport", "loopback")


def test_capabilities_choose_the_checks() -> None:
    class Bare:
        name = "bare"
        capabilities = Capability.NONE

    def bare() -> Transport:
        return Bare()  # type: ignore[return-value]

    skipped = 0
    for check in CHECKS:
        if check.needs:
            with pytest.raises(NotApplicable, match=f"{check.rule}: .* STREAMS"):
                check(bare)
            skipped += 1
        else:
            with pytest.raises(RuleBroken):
                check(bare)
    assert 0 < skipped < len(CHECKS)


def test_rules_are_numbered_once() -> None:
    numbers = [check.rule for check in CHECKS]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


def test_the_guide_states_every_rule() -> None:
    guide = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
    stated = re.findall(r"^- \*\*(T-\d\d)\*\* ", guide.read_text(), re.MULTILINE)
    assert stated == sorted({check.rule for check in CHECKS} | {ORDER[0]})
