"""`keynet run` and what talks to it, as processes: the ready line, CONNECT, forward, signals."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

from keynet.address import NodeId, SocketAddress
from keynet.control import call, running_node

from .conftest import Spawn, echoed


def test_two_nodes_a_forward_and_signals(spawn: Spawn, tmp_path: Path, echo_port: int) -> None:
    flags = ("--json", "--listen", "127.0.0.1:0")
    a, b = tmp_path / "a", tmp_path / "b"
    behind = spawn("run", *flags, "--state", a, "--expose", f"7=127.0.0.1:{echo_port}",
                   "--allow", "any")  # fmt: skip
    ready = json.loads(behind.line())
    assert list(ready) == [
        *("event", "node_id", "udp", "proxy", "services", "allow"),
        *("rpc_services", "allow_call", "seed"),
    ]
    assert ready["event"] == "ready"
    assert ready["services"] == {"7": f"127.0.0.1:{echo_port}"}
    assert ready["proxy"] is None
    peer, udp = NodeId.parse(ready["node_id"]), SocketAddress.parse(ready["udp"][0])

    front = spawn("run", *flags, "--state", b, "--proxy", "127.0.0.1:0",
                  "--peer", f"{peer}@{udp}")  # fmt: skip
    proxy = json.loads(front.line())["proxy"]
    node = running_node(b)
    assert str(node.proxy) == proxy
    assert node.proxy_token == (b / "proxy-token").read_text().strip()

    forward = spawn("forward", "--json", "--state", b, f"0={peer}:7")
    local = SocketAddress.parse(json.loads(forward.line())["local"])
    with socket.create_connection(local, timeout=20) as client:
        assert echoed(client, b"x" * 200_000) == b"x" * 200_000
    assert front.event("connection_opened")["peer"] == str(peer)
    assert call(b, "status")["connections"][0]["peer"] == str(peer)

    assert forward.signal(signal.SIGINT) == (0, "")
    status, rest = front.signal(signal.SIGTERM)
    assert (status, json.loads(rest.splitlines()[-1])) == (
        0,
        {"event": "stopped", "reason": None},
    )
    assert behind.signal(signal.SIGINT)[0] == 0
    left = {path.name for path in (*a.iterdir(), *b.iterdir())}
    assert left == {"identity.pem", "lock", "proxy-token"}


def test_people_see_what_they_need(spawn: Spawn, isolated_state: Path) -> None:
    node = spawn("run", "--listen", "127.0.0.1:0")
    lines = [node.line() for _ in range(5)]
    assert "is ready" in lines[0]
    assert re.search(r"node +[0-9a-v]{52}", lines[1])
    status = spawn("status")
    assert str(running_node().node_id) in status.line()
    before = running_node().node_id
    rotated = json.loads(spawn("id", "rotate", "--json").line())
    assert rotated["lineage"] == [str(running_node().node_id), str(before)]
    assert node.signal(signal.SIGTERM)[0] == 0


def test_a_second_node_on_the_same_state(spawn: Spawn, isolated_state: Path) -> None:
    first = spawn("run", "--json", "--listen", "127.0.0.1:0")
    first.line()
    second = spawn("run", "--listen", "127.0.0.1:0")
    assert second._popen.wait(30) == 2
    complaint = second.complaints()
    assert complaint.startswith("keynet: the state directory")
    assert complaint.count("\n") == 1
    assert first.signal(signal.SIGTERM)[0] == 0
