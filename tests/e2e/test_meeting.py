"""`keynet seed` and two nodes that know it, as processes: they meet by id alone."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from keynet.control import call

from .conftest import Process, Spawn, echoed

LOCAL = ("--json", "--listen", "127.0.0.1:0")


def json_of(process: Process) -> Any:
    """What a command that ends by itself says."""
    return json.loads(process.line())


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.fixture
def seed(spawn: Spawn, tmp_path: Path) -> tuple[Process, str]:
    """A seed with two addresses, and what other nodes take for --seed."""
    alternate = f"127.0.0.2:{free_port()}"
    process = spawn("seed", *LOCAL, "--alternate", alternate, "--state", tmp_path / "seed")
    (line,) = process.event("ready")["seed"]
    return process, line


@pytest.fixture
def nodes(
    spawn: Spawn, seed: tuple[Process, str], tmp_path: Path, echo_port: int
) -> tuple[Path, Path, str]:
    """The state directories of two nodes that are registered, and the second one's id, which
    exposes the echo server as port 7 to everybody."""
    a, b = tmp_path / "a", tmp_path / "b"
    front = spawn("run", *LOCAL, "--seed", seed[1], "--proxy", "127.0.0.1:0", "--state", a)
    behind = spawn("run", *LOCAL, "--seed", seed[1], "--state", b, "--allow", "any",
                   "--expose", f"7=127.0.0.1:{echo_port}")  # fmt: skip
    node_id = behind.event("ready")["node_id"]
    for one in (front, behind):
        assert one.event("seed_changed")["registered"] is True
    return a, b, node_id


def test_two_nodes_meet_by_id_alone(
    spawn: Spawn, seed: tuple[Process, str], nodes: tuple[Path, Path, str]
) -> None:
    a, _, peer = nodes
    forward = spawn("forward", "--json", "--state", a, f"0={peer}:7")
    host, _, port = json_of(forward)["local"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        assert echoed(client, b"x" * 100_000) == b"x" * 100_000

    pinging = spawn("ping", peer, "-c", "2", "-i", "0.1", "--json", "--state", a)
    for _ in range(2):
        ping = json_of(pinging)
        assert (ping["error"], ping["relayed"], ping["peer"]) == (None, False, peer)
        assert ping["link_ms"] is not None
        assert ping["rpc_ms"] is not None
    assert json_of(pinging)["answered"] == 2

    why = json_of(spawn("why", peer, "--json", "--state", a))
    assert why["connected"] is True
    assert [one["fate"] for one in why["attempt"]["addresses"]] == ["answered"]

    status = json_of(spawn("status", "--json", "--state", a))
    assert status["seeds"][0]["seed"] == seed[1]
    assert status["seeds"][0]["registered"] is True
    assert peer in {link["peer"] for link in status["links"]}
    assert call(a.parent / "seed", "status")["signalling"]["seed"]["registered"] == 2


def test_a_ping_that_nothing_answers(spawn: Spawn, nodes: tuple[Path, Path, str]) -> None:
    a, _, _ = nodes
    nobody = "0" * 52
    pinging = spawn("ping", nobody, "-c", "1", "--state", a)
    assert "not reached: the seed does not know" in pinging.line()
    assert pinging._popen.wait(30) == 1
    why = json_of(spawn("why", nobody, "--json", "--state", a))
    assert "The peer is not registered" in why["advice"][0]


def test_ctrl_c_ends_a_ping_with_a_summary(spawn: Spawn, nodes: tuple[Path, Path, str]) -> None:
    a, _, peer = nodes
    pinging = spawn("ping", peer, "--state", a)
    assert "punched and connected first" in pinging.line()
    status, rest = pinging.signal(signal.SIGINT)
    assert status == 0
    assert "answered" in rest


def test_a_running_node_is_changed(spawn: Spawn, nodes: tuple[Path, Path, str]) -> None:
    a, b, peer = nodes
    entry = f"{call(a, 'status')['node_id']}=7"
    assert spawn("allow", "add", entry, "--state", b).line() == "any"
    assert spawn("allow", "remove", "any", "--state", b).line() == entry
    assert json_of(spawn("allow", "list", "--json", "--state", b)) == [entry]
    assert spawn("expose", "add", "8=127.0.0.1:9", "--state", a).line() == "8=127.0.0.1:9"
    address = call(b, "status")["udp"][0]
    assert spawn("peer", "add", f"{peer}@{address}", "--state", a).line() == f"{peer}@{address}"
    refused = spawn("peer", "add", peer, "--state", a)
    assert refused._popen.wait(30) == 2


def test_the_doctor_is_told_by_the_running_nodes_seed(
    spawn: Spawn, nodes: tuple[Path, Path, str]
) -> None:
    found = json_of(spawn("doctor", "--json", "--state", nodes[0]))
    behaviour = found["behaviour"]["ipv4"]
    assert behaviour["answered"] is True
    assert (behaviour["mapping"], behaviour["filtering"]) == ("no NAT", "endpoint-independent")
    assert behaviour["mtu"] > 1232


def test_people_get_a_line_to_paste(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("seed", "--listen", "127.0.0.1:0", "--state", tmp_path / "seed")
    lines = [process.line() for _ in range(4)]
    assert "is ready" in lines[0]
    assert "--seed " in lines[3]
    assert process.signal(signal.SIGTERM)[0] == 0
