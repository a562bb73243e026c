"""keynet's own command in the lab's hosts: real processes, real networks between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Process
from tests.natlab.lab import Host, Lab
from tests.natlab.probing import ask, probe, spawn_ready

pytestmark = pytest.mark.natlab

ROUND_TRIP = 0.04
SERVICE = 7000
UDP_PORT = 4100

Spawn = Callable[..., Process]


@pytest.fixture
def keynet(possible: None) -> Iterator[Spawn]:
    """`keynet(host, "run", "--json")` starts the command in a host; killed in the end."""
    running: list[Process] = []

    def start(host: Host, *args: str | Path) -> Process:
        running.append(Process(*args, within=host.command([])))
        return running[-1]

    yield start
    for process in running:
        process.close()


def ready(process: Process) -> dict[str, Any]:
    return process.event("ready")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_stream_between_public_hosts(keynet: Spawn, tmp_path: Path, family: str) -> None:
    with Lab(round_trip=ROUND_TRIP) as lab:
        a, b = lab.host("server"), lab.host("client")
        address = f"[{a.ipv6}]" if family == "ipv6" else str(a.ipv4)
        spawn_ready(lab, a, probe("echo", "127.0.0.1", SERVICE))
        listen = "[::]" if family == "ipv6" else "0.0.0.0"
        behind = ready(
            keynet(a, "run", "--json", "--state", tmp_path / "a", "--listen",
                   f"{listen}:{UDP_PORT}", "--expose", f"{SERVICE}=127.0.0.1:{SERVICE}",
                   "--allow", "any")
        )  # fmt: skip
        front = ready(
            keynet(b, "run", "--json", "--state", tmp_path / "b", "--listen", f"{listen}:0",
                   "--proxy", "127.0.0.1:0", "--peer",
                   f"{behind['node_id']}@{address}:{UDP_PORT}")
        )  # fmt: skip
        token = (tmp_path / "b/proxy-token").read_text().strip()
        authority = f"{behind['node_id']}.keynet:{SERVICE}"
        for attempt in ("first", "second"):
            report = ask(lab, b, probe("connect", front["proxy"], token, authority, 200_000))
            print(f"{attempt} CONNECT by {family}: {report}")
            assert (report["status"], report["intact"]) == (200, True)
            assert ROUND_TRIP < report["first_byte"] < 3, "or it did not cross the slow wires"
