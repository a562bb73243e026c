"""keynet's own command in the lab's hosts: real processes, real networks between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.natlab.conftest import StartKeynet
from tests.natlab.lab import Lab
from tests.natlab.probing import ask, probe, spawn_ready

pytestmark = pytest.mark.natlab

ROUND_TRIP = 0.04
SERVICE = 7000
UDP_PORT = 4100


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_stream_between_public_hosts(keynet: StartKeynet, tmp_path: Path, family: str) -> None:
    with Lab(round_trip=ROUND_TRIP) as lab:
        a, b = lab.host("server"), lab.host("client")
        address, anywhere = (a.ipv4, "0.0.0.0") if family == "ipv4" else (f"[{a.ipv6}]", "[::]")
        spawn_ready(lab, a, probe("echo", "127.0.0.1", SERVICE))
        serve = ("--expose", f"{SERVICE}=127.0.0.1:{SERVICE}", "--allow", "any")
        listen = ("--listen", f"{anywhere}:{UDP_PORT}")
        behind = keynet(a, "run", "--json", "--state", tmp_path / "a", *listen, *serve)
        peer = behind.event("ready")["node_id"]

        reach = ("--proxy", "127.0.0.1:0", "--peer", f"{peer}@{address}:{UDP_PORT}")
        front = keynet(b, "run", "--json", "--state", tmp_path / "b", *listen, *reach)
        proxy = front.event("ready")["proxy"]
        token = (tmp_path / "b/proxy-token").read_text().strip()
        for size in (100, 200_000):
            connect = probe("connect", proxy, token, f"{peer}.keynet:{SERVICE}", size)
            report = ask(lab, b, connect)
            print(f"{size} bytes by {family}: {report}")
            assert (report["status"], report["intact"]) == (200, True)
            assert 2 * ROUND_TRIP < report["first_byte"] < 3, "or the wires were not crossed"
