"""`keynet doctor` behind every kind of NAT: what it says is what stands there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.natlab.conftest import StartKeynet
from tests.natlab.lab import KINDS, Host, Lab, Nat, nat
from tests.natlab.test_coturn import start_server

pytestmark = pytest.mark.natlab

BY_IPV4 = tuple(kind for kind in KINDS if KINDS[kind].ipv4 != "none")
PORT, OTHER_PORT = 3478, 3479


def examined(lab: Lab, hosts: dict[str, Host], *servers: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds of IPv4 in several hosts, at the same time."""
    asked = [part for server in servers for part in ("--stun", server)]
    argv = [sys.executable, "-m", "keynet", "doctor", "--json", *asked]
    running = {kind: lab.spawn(host, argv) for kind, host in hosts.items()}
    return {kind: finding(process) for kind, process in running.items()}


def finding(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(said)["behaviour"]["ipv4"]
    return found


def expected(kind: Nat) -> dict[str, Any]:
    """What it must say. Of two NATs in a row, the outer one shows."""
    if not kind.udp:
        return {"answered": False, "mapping": "unknown", "filtering": "unknown"}
    outer = (kind.carrier or kind).behaviour
    translated = kind.ipv4 == "translated"
    return {
        "answered": True,
        "mapping": outer.mapping if translated else "no-NAT",
        "filtering": kind.behaviour.filtering,
        "hairpinning": outer.hairpin if translated else None,
        "mtu": 1472,
    }


def told(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Those of the findings that are wanted, in the lab's spelling."""
    return {
        name: value.replace(" ", "-") if isinstance(value, str) else value
        for name, value in found.items()
        if name in wanted
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_says_what_stands_there(lab: Lab, keynet: StartKeynet, tmp_path: Path) -> None:
    server = lab.host("seed", alternate=True)
    assert server.alternate is not None
    addresses = ("--listen", f"{server.ipv4}:{PORT}",
                 "--alternate", f"{server.alternate.ipv4}:{OTHER_PORT}")  # fmt: skip
    keynet(server, "seed", "--json", "--state", tmp_path / "seed", *addresses).event("ready")
    hosts = {kind: lab.host(behind=nat(kind)) for kind in BY_IPV4}
    for kind, found in examined(lab, hosts, f"{server.ipv4}:{PORT}").items():
        wanted = expected(nat(kind))
        assert told(found, wanted) == wanted, kind


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_foreign_server_shows_the_same(lab: Lab, tmp_path: Path) -> None:
    server = start_server(lab, tmp_path)
    hosts = {kind: lab.host(behind=nat(kind)) for kind in ("address-restricted", "symmetric")}
    for kind, found in examined(lab, hosts, f"{server.ipv4}:{PORT}").items():
        wanted = expected(nat(kind))
        del wanted["mtu"]  # coturn may know no padding
        assert told(found, wanted) == wanted, kind


@pytest.mark.timeout(120)
def test_two_plain_seeds_show_the_mapping(lab: Lab, keynet: StartKeynet, tmp_path: Path) -> None:
    servers = [lab.host(f"seed-{n}") for n in range(2)]
    for server in servers:
        state, listen = tmp_path / server.name, f"{server.ipv4}:{PORT}"
        keynet(server, "seed", "--json", "--state", state, "--listen", listen).event("ready")
    hosts = {kind: lab.host(behind=nat(kind)) for kind in ("port-restricted", "symmetric")}
    found = examined(lab, hosts, *(f"{server.ipv4}:{PORT}" for server in servers))
    assert found["port-restricted"]["mapping"] == "endpoint-independent"
    assert found["symmetric"]["mapping"] == "depends on the destination"
    assert {one["filtering"] for one in found.values()} == {"unknown"}
