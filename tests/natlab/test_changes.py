"""A network that changes under running programs: NATs that reboot, hosts that move."""

from __future__ import annotations

import json
import time

import pytest

from tests.natlab.lab import Lab, nat
from tests.natlab.probing import Reflector, ask, classified, probe

pytestmark = pytest.mark.natlab


@pytest.mark.parametrize("kind", ["port-restricted", "full-cone"])
def test_a_nat_that_reboots_has_another_address(lab: Lab, kind: str) -> None:
    reflector, home = Reflector.start(lab), lab.home(nat(kind))
    host = lab.host(behind=home)
    ask_once = probe("ping", reflector.host.ipv4, 3478, 1, 0)
    before = ask(lab, host, ask_once)["seen"][0]
    home.reboot()
    after = ask(lab, host, ask_once)["seen"][0]
    assert before != after == str(home.wan.addresses.ipv4)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("port-restricted", marks=pytest.mark.slow),
        "full-cone",
        pytest.param("symmetric", marks=pytest.mark.slow),
        pytest.param("firewall", marks=pytest.mark.slow),
    ],
)
def test_a_nat_that_reboots_forgets(lab: Lab, kind: str) -> None:
    """Answers asked for before the reboot, and due after it, find nobody."""
    reflector, home = Reflector.start(lab), lab.home(nat(kind))
    host = lab.host(behind=home)
    running = lab.spawn(host, probe("later", reflector.host.ipv4, 3478, 0.2, 2.0))
    assert running.stdout is not None
    assert running.stdout.readline() == "asked\n"
    time.sleep(0.8)
    home.reboot()
    assert json.loads(running.communicate(timeout=20)[0]) == [True, False]


@pytest.mark.slow
def test_a_nat_is_of_the_same_kind_after_a_reboot(lab: Lab) -> None:
    reflector, kinds = Reflector.start(lab), [nat("symmetric"), nat("address-restricted")]
    homes = [lab.home(kind) for kind in kinds]
    commands = [
        reflector.classify(lab.host(behind=home), kind)
        for home, kind in zip(homes, kinds, strict=True)
    ]
    before = classified(commands, timeout=30)
    for home in homes:
        home.reboot()
    assert classified(commands, timeout=30) == before


def test_a_host_that_moves_has_other_addresses(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    for host in (lab.host(), lab.host(behind=nat("ipv6-firewall"))):
        target = reflector.host.ipv6
        before = ask(lab, host, probe("ping", target, 3478, 1, 0))["seen"][0]
        lab.readdress(host)
        after = ask(lab, host, probe("ping", target, 3478, 1, 0))["seen"][0]
        assert before != after == str(host.ipv6)


def test_a_host_that_moves_in_its_home_is_still_behind_the_nat(lab: Lab) -> None:
    reflector, host = Reflector.start(lab), lab.host(behind=nat("full-cone"))
    before = host.ipv4
    lab.readdress(host)
    assert host.ipv4 != before
    assert ask(lab, host, probe("ping", reflector.host.ipv4, 3478, 1, 0))["seen"] is not None
