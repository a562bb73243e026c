"""The lab's NATs as coturn's own classifier sees them: two strangers must agree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.natlab.lab import Host, Lab, nat
from tests.natlab.probing import ask, probe

KINDS = ("full-cone", "address-restricted", "port-restricted", "address-dependent", "symmetric",
         "carrier-grade")  # fmt: skip

pytestmark = [
    pytest.mark.natlab,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("turnutils_natdiscovery") is None, reason="coturn is not installed"
    ),
]


def start_server(lab: Lab, directory: Path) -> Host:
    """coturn on a host with two addresses, answering as RFC 5780 asks."""
    host = lab.host("coturn", alternate=True)
    assert host.alternate is not None
    options = ["-n", "-S", "--no-tls", "--no-dtls", "--no-cli", "--no-stdout-log"]
    files = {"--pidfile": "pid", "--userdb": "users", "--log-file": "log"}
    places = [part for flag, name in files.items() for part in (flag, str(directory / name))]
    listen = ["-L", str(host.ipv4), "-L", str(host.alternate.ipv4)]
    lab.spawn(host, ["turnserver", *options, *places, *listen])
    assert ask(lab, host, probe("tcp", host.ipv4, 3478, 20))["connected"]
    return host


def discovered(said: str, what: str) -> str:
    """The behaviour that it names, in the words of RFC 4787."""
    match = re.search(rf"NAT with (.+) {what}!", said)
    assert match, said
    return match[1].lower().replace(" ", "-")


def test_coturn_says_the_same(lab: Lab, tmp_path: Path) -> None:
    server = start_server(lab, tmp_path)
    hosts = {kind: lab.host(behind=nat(kind)) for kind in KINDS}
    discover = ["turnutils_natdiscovery", "-m", "-f", str(server.ipv4)]
    running = {kind: lab.spawn(host, discover) for kind, host in hosts.items()}
    for kind, process in running.items():
        said, _ = process.communicate(timeout=30)
        outer = (nat(kind).carrier or nat(kind)).behaviour
        assert discovered(said, "Mapping") == outer.mapping, kind
        assert discovered(said, "Filtering") == nat(kind).behaviour.filtering, kind
