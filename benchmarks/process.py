"""Child processes that speak JSON lines, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parents[1]


class Usage(NamedTuple):
    """What a process has used so far."""

    cpu_s: float
    resident_bytes: int


class WorkerFailed(Exception):
    """A child process ended early, said nothing in time, or reported an error."""


class Process:
    """One child. Its standard output carries one JSON object a line; the rest goes to stderr."""

    def __init__(self, role: str, command: Sequence[str]) -> None:
        self.role = role
        environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
        )
        self._buffer = b""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        """SIGTERM, and SIGKILL two seconds later."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            self._child.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()

    def usage(self) -> Usage:
        """CPU time of all its threads and resident memory, now."""
        pid = self._child.pid
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        return Usage((int(fields[11]) + int(fields[12])) / TICKS, resident)

    def say(self, word: str) -> None:
        """One line to its standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(word.encode() + b"\n")
        self._child.stdin.flush()

    def hear(self, timeout: float) -> dict[str, Any]:
        """Its next object. WorkerFailed after `timeout` seconds, at its end, or on its error."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._buffer += self._some_bytes(deadline - time.monotonic())
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if said.get("event") == "error":
            raise WorkerFailed(f"{self.role}: {said.get('message')}")
        return said

    def _some_bytes(self, timeout: float) -> bytes:
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, timeout)):
                raise WorkerFailed(f"{self.role} said nothing in time")
        data = os.read(self._child.stdout.fileno(), 65536)
        if not data:
            raise WorkerFailed(f"{self.role} ended: {self._last_words()}")
        return data

    def _last_words(self) -> str:
        assert self._child.stderr is not None
        return self._child.stderr.read()[-2000:].decode(errors="replace").strip()
