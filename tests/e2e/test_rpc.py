"""Services served and called by real processes, all four kinds, between two nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from keynet.address import Authority, NodeId, SocketAddress

from .conftest import PATIENCE, Process, Spawn

SERVICE = """
from collections.abc import AsyncIterator

from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error

service = Service("sums")


@service.method
async def divide(a: int, by: int = 1) -> int:
    if by == 0:
        raise rpc_error(Status.INVALID_ARGUMENT, "not by zero")
    return a // by


@service.method
async def count(to: int) -> AsyncIterator[int]:
    for n in range(to):
        yield n


@service.method
async def total(numbers: AsyncIterator[int]) -> int:
    return sum([n async for n in numbers])


@service.method
async def running(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
    so_far = 0
    async for n in numbers:
        so_far += n
        yield so_far
"""

FLAGS = ("--json", "--listen", "127.0.0.1:0")


def keynet(*args: str | Path, stdin: str = "") -> tuple[int, str, str]:
    """Run a command to its end: status, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "keynet", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def behind(spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """A node that serves `sums`, whose module is in the current directory, to everybody."""
    (tmp_path / "my_sums.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    return spawn("run", *FLAGS, "--state", tmp_path / "a", "--serve", "my_sums:service",
                 "--allow-call", "any")  # fmt: skip


def test_calls_of_every_kind_between_two_nodes(
    behind: Process, spawn: Spawn, tmp_path: Path
) -> None:
    ready = json.loads(behind.line())
    assert (ready["rpc_services"], ready["allow_call"]) == (
        ["sums", "keynet", "signalling"],
        ["any"],
    )
    peer, udp = NodeId.parse(ready["node_id"]), SocketAddress.parse(ready["udp"][0])
    front = spawn("run", *FLAGS, "--state", tmp_path / "b", "--peer", f"{peer}@{udp}")
    front.event("ready")
    way = ("--state", tmp_path / "b")

    assert keynet("call", peer, "sums.divide", '{"a": 7, "by": 2}', *way) == (0, "3\n", "")
    assert keynet("call", peer, "sums.count", '{"to": 3}', *way) == (0, "0\n1\n2\n", "")
    assert keynet("call", peer, "sums.total", *way, stdin="1\n2\n3\n") == (0, "6\n", "")
    assert keynet("call", peer, "sums.running", *way, stdin="1\n2\n3\n") == (0, "1\n3\n6\n", "")
    failed = keynet("call", peer, "sums.divide", '{"a": 7, "by": 0}', *way)
    assert failed == (1, "", "INVALID_ARGUMENT: not by zero\n")
    status, listed, _ = keynet("services", peer, *way)
    assert status == 0
    assert "sums.divide(a: integer, by: integer = 1) -> integer" in listed.splitlines()

    assert behind.event("stream_served")["protocol"] == "jsonrpc"
    told = json.loads(keynet("status", "--json", "--state", tmp_path / "a")[1])
    assert told["rpc"]["services"] == {"sums": 4, "keynet": 2, "signalling": 1}
    assert told["rpc"]["bindings"]["jsonrpc"]["taken"] >= 6
    assert front.signal(signal.SIGTERM)[0] == 0
    assert behind.signal(signal.SIGTERM)[0] == 0


def test_an_interactive_duplex_call_answers_as_it_is_typed(behind: Process, tmp_path: Path) -> None:
    node_id = json.loads(behind.line())["node_id"]
    command = [sys.executable, "-m", "keynet", "call", node_id, "sums.running"]
    with subprocess.Popen(
        [*command, "--state", str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as calling:
        assert calling.stdin is not None
        assert calling.stdout is not None
        for number, answer in ((1, "1\n"), (10, "11\n")):
            calling.stdin.write(f"{number}\n")
            calling.stdin.flush()
            assert calling.stdout.readline() == answer
        calling.send_signal(signal.SIGINT)
        assert calling.wait(PATIENCE) == 130, "though standard input is open still"


def test_a_plain_json_rpc_client_over_a_forward(
    behind: Process, spawn: Spawn, tmp_path: Path
) -> None:
    """Without anything of keynet: one line to a local port, one line back."""
    ready = json.loads(behind.line())
    peer = f"{ready['node_id']}@{ready['udp'][0]}"
    front = spawn("run", *FLAGS, "--state", tmp_path / "b", "--peer", peer,
                  "--proxy", "127.0.0.1:0")  # fmt: skip
    front.event("ready")
    forward = spawn("forward", "--json", "--state", tmp_path / "b", f"0={ready['node_id']}:jsonrpc")
    local = Authority.parse(json.loads(forward.line())["local"])
    assert ask(local, b'{"jsonrpc":"2.0","id":1,"method":"sums.divide","params":{"a":6}}\n') == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": 6,
    }


def ask(local: Authority, line: bytes) -> object:
    with socket.create_connection((local.host, local.port), timeout=PATIENCE) as client:
        client.sendall(line)
        return json.loads(client.makefile().readline())


def test_what_cannot_be_served_is_one_line(tmp_path: Path) -> None:
    failed = keynet("run", *FLAGS, "--state", tmp_path, "--serve", "no_such_module:service")
    assert failed[:2] == (2, "")
    assert failed[2].startswith("keynet: there is no module no_such_module for")
    assert failed[2].count("\n") == 1
