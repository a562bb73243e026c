"""Clients of a member's proxy that a test steers: it gives orders, they answer each with JSON."""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path

from tests.natlab.members import PROXY, SERVICE, TOKEN, Member
from tests.natlab.probing import Report

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds for an answer."""


class Steered:
    """One of `probes/`, through the proxy of `member` to a service of `to`; ends with the lab."""

    def __init__(self, probe: str, member: Member, to: Member, port: int = SERVICE) -> None:
        """Starts it, and waits for what it says first: `begin`."""
        command = [sys.executable, "-m", f"tests.natlab.probes.{probe}"]
        args = [PROXY, TOKEN, to.authority(port)]
        self._process = member.lab.spawn(
            member.host, ["env", f"PYTHONPATH={ROOT}", *command, *args]
        )
        self.begin = self.answer()

    def order(self, order: str) -> None:
        """Tell it what to do; `answer` tells what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def answer(self) -> Report:
        """What it says next. Orders are answered one after the other."""
        out = self._process.stdout
        assert out is not None
        assert select.select([out], [], [], PATIENCE)[0], "no answer"
        report: Report = json.loads(out.readline())
        return report

    def do(self, order: str) -> Report:
        """Tell it, and wait for the answer."""
        self.order(order)
        return self.answer()


def conversation(member: Member, to: Member) -> Steered:
    """A byte stream to a member's echo."""
    made = Steered("converse", member, to)
    assert made.begin == {"status": 200}
    return made


def caller(member: Member, to: Member, port: int) -> Steered:
    """A gRPC client of the demo's service at that port."""
    return Steered("grpc_caller", member, to, port)
