"""keynet's own processes in a lab: seeds, and members that find each other through them.

Every member exposes an echo, lets anybody in, and has its proxy where all others have theirs: each
has a network of its own. What is tested with them stands in `test_meeting_*.py`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keynet.address import NodeId
from keynet.identity import IdentityStore
from tests.e2e.conftest import Process
from tests.natlab.lab import Home, Host, Lab, Link, Nat
from tests.natlab.probing import Report, ask, probe, spawn_ready

ROUND_TRIP = 0.04
SERVICE = 7000
UDP_PORT = 4100
PROXY = "127.0.0.1:1080"
TOKEN = "known-in-the-lab"
ANYWHERE = ("--listen", f"0.0.0.0:{UDP_PORT}", "--listen", f"[::]:{UDP_PORT}")
SERVE = ("--expose", f"{SERVICE}=127.0.0.1:{SERVICE}", "--allow", "any")
REACH = ("--proxy", PROXY, "--proxy-token", TOKEN)


@dataclass(slots=True)
class Member:
    """A host with `keynet run` or `keynet seed` in it."""

    lab: Lab
    host: Host
    state: Path
    node_id: NodeId
    argv: tuple[str, ...]
    """The process's arguments, so that it can be started again."""
    process: Process

    def authority(self, port: int = SERVICE) -> str:
        """A service of its, as CONNECT names it."""
        return f"{self.node_id}.keynet:{port}"

    def dialling(self, to: Member, size: int = 100) -> list[str]:
        """The command line of a program here that sends bytes to a member's echo and back."""
        return probe("connect", PROXY, TOKEN, to.authority(), size)

    def dial(self, to: Member, size: int = 100, *, timeout: float = 40.0) -> Report:
        """What that program reports."""
        return ask(self.lab, self.host, self.dialling(to, size), timeout)

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Its next event of that name with these values in it."""
        while True:
            event = self.process.event(name)
            if all(event[field] == value for field, value in fields.items()):
                return event

    def loses(self, *peers: Member) -> list[str]:
        """The reasons, once it has lost the connections to these, whichever comes first."""
        awaited, reasons = {str(peer.node_id) for peer in peers}, list[str]()
        while awaited:
            event = self.process.event("connection_lost")
            if event["peer"] in awaited:
                awaited.remove(event["peer"])
                reasons.append(event["reason"])
        return reasons

    def asked(self, *verb: object) -> Report:
        """What `keynet <verb> --json` tells of this running node."""
        argv = ["-m", "keynet", *map(str, verb), "--json", "--state", str(self.state)]
        return ask(self.lab, self.host, [sys.executable, *argv])

    def stopped(self) -> list[Report]:
        """End it in order; all events that nobody has waited for."""
        status, rest = self.process.signal(signal.SIGTERM)
        assert status == 0
        return [json.loads(line) for line in rest.splitlines()]

    def kill(self) -> None:
        """End the process as a crash does."""
        self.process.close()

    def start_again(self) -> None:
        """After `kill`."""
        self.process = Process(*self.argv, within=self.host.command([]))


class Crowd:
    """The members of one lab. Processes start at once and beside each other: `ready` waits.

    A context manager, which kills them in the end.
    """

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self._directory = directory
        self._members: list[Member] = []
        self.seeds: list[Member] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self._members:
            member.kill()

    def seed(self) -> Member:
        """A seed on the internet."""
        host = self.lab.host(f"seed-{len(self.seeds) + 1}")
        self.seeds.append(self._start(host, "seed", ANYWHERE))
        return self.seeds[-1]

    def member(
        self,
        behind: Nat | Home | None,
        *flags: str,
        link: Link | None = None,
        seeds: Iterable[Member] | None = None,
    ) -> Member:
        """A node that knows all seeds that there are, or these; `flags` come on top."""
        return self.on(self.lab.host(behind=behind, link=link), *flags, seeds=seeds)

    def on(self, host: Host, *flags: str, seeds: Iterable[Member] | None = None) -> Member:
        """The same on a host that is there."""
        spawn_ready(self.lab, host, probe("echo", "127.0.0.1", SERVICE))
        own, known = host.attachment.addresses, list[str]()
        for seed in self.seeds if seeds is None else seeds:
            there = seed.host
            known += ["--seed", self.address(there, there.ipv4)] if own.ipv4 else []
            known += ["--seed", self.address(there, there.ipv6)] if own.ipv6 else []
        return self._start(host, "run", (*ANYWHERE, *REACH, *SERVE, *known, *flags))

    def address(self, host: Host, address: object) -> str:
        """A host's node, running or not, at one of its addresses: for `--seed` and `--peer`."""
        node_id = IdentityStore(self._directory / host.name).load_or_create().node_id
        return f"{node_id}@{f'[{address}]' if ':' in str(address) else address}:{UDP_PORT}"

    def ready(self, *members: Member) -> None:
        """Wait until these, or else all, run and are registered at their seeds."""
        for member in members or self._members:
            member.event("ready")
            for _ in range(_seeds_of(member)):
                member.event("seed_changed", registered=True)

    def _start(self, host: Host, verb: str, flags: Iterable[str]) -> Member:
        state = self._directory / host.name
        node_id = IdentityStore(state).load_or_create().node_id
        argv = (verb, "--json", "--log-level", "info", "--state", str(state), *flags)
        process = Process(*argv, within=host.command([]))
        member = Member(self.lab, host, state, node_id, argv, process)
        self._members.append(member)
        return member


def _seeds_of(member: Member) -> int:
    """How many different seeds it was told of."""
    known = [value for flag, value in zip(member.argv, member.argv[1:], strict=False)
             if flag == "--seed"]  # fmt: skip
    return len({one.partition("@")[0] for one in known})
