"""The keynet command as real processes."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds for a process to say something; a busy machine takes a few for a start."""


class Process:
    """`python -m keynet …` with its output read line by line; `within` comes before the command."""

    def __init__(self, *args: str | Path, within: Sequence[str] = ()) -> None:
        self._popen = subprocess.Popen(
            [*within, sys.executable, "-m", "keynet", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        self._out = self._popen.stdout
        self._buffer = b""

    def line(self) -> str:
        """Its next line of output."""
        end = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], end - time.monotonic())
            data = os.read(self._out.fileno(), 65536) if ready else b""
            assert data, f"it said nothing, but on standard error: {self.complaints()}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def event(self, name: str) -> dict[str, Any]:
        """Its next event of that name."""
        while True:
            event: dict[str, Any] = json.loads(self.line())
            if event["event"] == name:
                return event

    def signal(self, number: signal.Signals) -> tuple[int, str]:
        """Its exit status after a signal, and what it still said on standard output."""
        self._popen.send_signal(number)
        rest = self._buffer + self._out.read()
        return self._popen.wait(PATIENCE), rest.decode()

    def complaints(self) -> str:
        """What it said on standard error until its end, which is brought about."""
        self._popen.kill()
        assert self._popen.stderr is not None
        return self._popen.stderr.read().decode()

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._out.close()
        assert self._popen.stderr is not None
        self._popen.stderr.close()


Spawn = Callable[..., Process]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """`spawn("run", "--json")` starts the command; it is killed in the end if it still runs."""
    running: list[Process] = []

    def start(*args: str | Path) -> Process:
        running.append(Process(*args))
        return running[-1]

    yield start
    for process in running:
        process.close()


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A local TCP server in a thread that gives back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                while data := client.recv(65536):
                    client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)
