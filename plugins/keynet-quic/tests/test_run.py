"""Two nodes as processes of their own: bytes and gRPC calls over QUIC, and no other transport."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NODE = ("--json", "--listen", "127.0.0.1:0", "--transport", "quic")
PATIENCE = 30.0
DATA = os.urandom(300_000)


class Command:
    """`python -m keynet …`, whose lines are JSON objects."""

    def __init__(self, *args: object) -> None:
        command = [sys.executable, "-m", "keynet", *map(str, args)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(PATIENCE, self._process.kill)
        self._watchdog.start()

    def event(self, **wanted: str) -> dict[str, Any]:
        """Its next line that holds `wanted`."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line)
            if wanted.items() <= event.items():
                return event
        raise AssertionError(f"it ended without saying {wanted}")

    def stop(self) -> int:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)
        self._watchdog.cancel()
        return self._process.returncode


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A local server that gives one client back what it sends."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            client, _ = server.accept()
        except OSError:
            return  # nobody came
        with client:
            while data := client.recv(65536):
                client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_bytes_between_two_nodes(tmp_path: Path, echo_port: int) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    traces = tmp_path / "traces"
    traces.mkdir()
    running: list[Command] = []
    try:
        running.append(
            Command("run", *NODE, "--state", a, "--expose", f"7=127.0.0.1:{echo_port}",
                    "--allow", "any", "--transport-option", f"qlog={traces}")
        )  # fmt: skip
        ready = running[0].event(event="ready")
        peer = f"{ready['node_id']}@{ready['udp'][0]}"
        running.append(Command("run", *NODE, "--state", b, "--proxy", "127.0.0.1:0",
                               "--peer", peer))  # fmt: skip
        running[1].event(event="ready")
        running.append(Command("forward", "--json", "--state", b, f"0={ready['node_id']}:7"))
        host, _, port = running[2].event()["local"].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            sending = threading.Thread(target=lambda: client.sendall(DATA))
            sending.start()
            received = b""
            while len(received) < len(DATA) and (piece := client.recv(65536)):
                received += piece
            sending.join()
        assert received == DATA
        for node in running[:2]:
            assert node.event(event="connection_opened")["transport"] == "quic"
    finally:
        statuses = [command.stop() for command in reversed(running)]
    assert statuses == [0, 0, 0]
    assert [path.suffix for path in traces.iterdir()] == [".qlog"]


def test_the_demo_makes_its_grpc_calls() -> None:
    pytest.importorskip("grpc")
    command = [sys.executable, "-m", "keynet", "demo", "--json", "--transport", "quic"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    steps = {step["step"]: step for step in map(json.loads, done.stdout.splitlines())}
    assert steps["connect"]["dialed"]["transport"] == "quic"
    assert {call["kind"] for call in steps["calls"]["calls"]} == {
        "unary",
        "server-streaming",
        "client-streaming",
        "duplex",
    }
