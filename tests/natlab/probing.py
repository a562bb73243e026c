"""The probes of `probes/`, run inside a lab's hosts: a reflector, and what asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.natlab.lab import Host, Lab, Nat

PROBES = Path(__file__).parent / "probes"
PORTS = ("3478", "3479")

Report = dict[str, Any]


def probe(name: str, *args: object) -> list[str]:
    """The command line of a probe. Without site-packages, so that it starts at once."""
    return [sys.executable, "-S", str(PROBES / f"{name}.py"), *map(str, args)]


@dataclass(frozen=True, slots=True)
class Reflector:
    """A reflector in a host, and the host itself."""

    host: Host
    """Has two addresses of each family."""
    ipv4: tuple[str, ...]
    """What the other probes are told: its two addresses and two ports."""
    ipv6: tuple[str, ...]
    """The same by IPv6."""

    @classmethod
    def start(cls, lab: Lab) -> Reflector:
        """Make a host on the internet and run one in it for either family, until the lab ends."""
        host = lab.host("reflector", alternate=True)
        assert host.alternate is not None
        ipv4 = (str(host.ipv4), str(host.alternate.ipv4), *PORTS)
        ipv6 = (str(host.ipv6), str(host.alternate.ipv6), *PORTS)
        for args in (ipv4, ipv6):
            spawn_ready(lab, host, probe("reflector", *args))
        return cls(host, ipv4, ipv6)

    def classify(self, host: Host, nat: Nat, *, lifetime: float = 0) -> list[str]:
        """The command that classifies what stands before a host, by the family that `nat` has."""
        family = self.ipv4 if nat.ipv4 != "none" else self.ipv6
        return host.command(probe("classify", *family, lifetime))


def spawn_ready(lab: Lab, host: Host, argv: list[str]) -> subprocess.Popen[str]:
    """Start a program that says "ready" when it is."""
    process = lab.spawn(host, argv)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", f"{argv} did not start"
    return process


def ask(lab: Lab, host: Host, argv: list[str], timeout: float = 30.0) -> Report:
    """What a probe reports."""
    report: Report = json.loads(lab.exec(host, argv, timeout=timeout).stdout)
    return report


def classified(commands: list[list[str]], timeout: float) -> list[Report]:
    """The reports of several classifiers that run at the same time."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        return [json.loads(process.communicate(timeout=timeout)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()


def expected(nat: Nat) -> Report:
    """What the classifier must say of a kind. Of two NATs in a row, the outer one shows."""
    outer = nat.carrier or nat
    if not nat.udp:
        return {"udp": False}
    if nat.ipv4 != "translated":
        return {"udp": True, "translated": False, "filtering": nat.behaviour.filtering}
    return {
        "udp": True,
        "translated": True,
        "mapping": outer.behaviour.mapping,
        "ports": outer.behaviour.ports,
        "hairpin": outer.behaviour.hairpin,
        "filtering": nat.behaviour.filtering,
    }
