"""The lab: hosts, homes and an internet between them, built on demand and removed as a whole.

with Lab(round_trip=0.04) as lab:
    a = lab.host(behind=nat("port-restricted"))
    print(lab.exec(a, ["ip", "addr"]).stdout)
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.natlab.lab.commands import LabError
from tests.natlab.lab.home import Home
from tests.natlab.lab.internet import Internet
from tests.natlab.lab.kinds import Nat
from tests.natlab.lab.namespaces import Namespace, name_of, ours, remove_stale
from tests.natlab.lab.segments import Addresses, Attachment
from tests.natlab.packets.line import Link

INTERFACE = "net"
"""The one of every host."""

_numbers = itertools.count(1)


@dataclass(slots=True)
class Host:
    """A place to run programs in."""

    name: str
    namespace: Namespace
    attachment: Attachment
    home: Home | None
    """The router that it is behind; None for a host on the internet itself."""
    alternate: Addresses | None = None
    """More addresses of the same host, in another network."""

    @property
    def ipv4(self) -> IPv4Address:
        """Its own address, which behind a NAT is a private one."""
        address = self.attachment.addresses.ipv4
        assert address is not None, f"{self.name} has no IPv4"
        return address

    @property
    def ipv6(self) -> IPv6Address:
        address = self.attachment.addresses.ipv6
        assert address is not None, f"{self.name} has no IPv6"
        return address

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """`argv` as a command of the machine itself that runs in this host."""
        return [*self.namespace.enter(), *map(str, argv)]


class Lab:
    """Context manager. `close` is idempotent; at the latest it happens when the process ends.

    What it makes appears at once; each namespace takes some milliseconds.
    """

    def __init__(self, *, round_trip: float = 0.0) -> None:
        """`round_trip` in seconds is what packets take between any two hosts that do not share
        a home, and back, unless a host or home brings a link of its own."""
        self._link = Link(delay=round_trip / 4)
        self._number = next(_numbers)
        self._internet: Internet | None = None
        self._namespaces: list[Namespace] = []
        self._homes: list[Home] = []
        self._hosts: list[Host] = []
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> Internet:
        """Remove what crashed runs left, and make the internet; later calls return it."""
        if self._internet is None:
            atexit.register(self.close)
            remove_stale()
            self._internet = Internet(self._namespace("internet"))
            self._internet.create()
        return self._internet

    def home(self, nat: Nat, *, behind: Home | None = None, link: Link | None = None) -> Home:
        """A router of that kind, for hosts (and behind a carrier's, homes) to stand behind."""
        upstream = behind or (self.home(nat.carrier, link=link) if nat.carrier else self.open())
        if link is None:
            link = self._link
        if isinstance(upstream, Home):
            link = Link()  # the delay is in the carrier's own
        name = f"{nat.kind}-{len(self._homes) + 1}"
        home = Home(self._namespace(name), nat, upstream, link)
        self._homes.append(home)
        home.create()
        return home

    def host(
        self,
        name: str | None = None,
        *,
        behind: Home | Nat | None = None,
        link: Link | None = None,
        alternate: bool = False,
    ) -> Host:
        """A host: on the internet, in a home, or behind a NAT that is made for it alone.

        `link` is its access to the internet, or in a home its cable. `alternate` gives a host on
        the internet a second address of each family, in another network.
        """
        name = name or f"host-{len(self._hosts) + 1}"
        if isinstance(behind, Nat):
            behind, link = self.home(behind, link=link), None
        namespace = self._namespace(name)
        namespace.create({})
        router = behind or self.open()
        attachment = router.plug(namespace, INTERFACE, link or (Link() if behind else self._link))
        host = Host(name, namespace, attachment, behind)
        if alternate:
            host.alternate = self.open().delegate(attachment, ipv4=True, ipv6=True).take()
            namespace.ip(*host.alternate.lines("add", INTERFACE))
        self._hosts.append(host)
        return host

    def exec(
        self, host: Host, argv: Sequence[str | Path], *, timeout: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a host to its end.

        Raises LabError with its standard error when it fails and `check` holds, and
        subprocess.TimeoutExpired, having killed it, when it takes longer.
        """
        done = subprocess.run(host.command(argv), capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise LabError(f"in {host.name}: {argv}: {done.stderr.strip()}")
        return done

    def spawn(self, host: Host, argv: Sequence[str | Path]) -> subprocess.Popen[str]:
        """Start a command in a host, with pipes for its input and output; killed at the end."""
        process = subprocess.Popen(
            host.command(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def readdress(self, host: Host) -> None:
        """Give a host other addresses in its network, and take the old ones away."""
        host.attachment.renew()

    def lose(self, what: Host | Home, fraction: float) -> None:
        """Drop that fraction of what passes a host's cable or a home's access, each way.

        0 ends it, 1 cuts the cable.
        """
        attachment = what.attachment if isinstance(what, Host) else what.wan
        attachment.lose(fraction)

    def close(self) -> None:
        """End every process in the lab, and remove it. Raises LabError if something stays."""
        atexit.unregister(self.close)
        with contextlib.ExitStack() as stack:
            while self._namespaces:
                stack.callback(self._namespaces.pop().delete)
            for router in (self._internet, *self._homes):
                if router is not None:
                    stack.callback(router.close)
            for process in self._processes:
                stack.callback(_end, process)
        self._processes.clear()
        left = [name for name in ours() if name.startswith(name_of(self._number, ""))]
        if left:
            raise LabError(f"still there: {', '.join(left)}")

    def _namespace(self, name: str) -> Namespace:
        """Known before it is made, so that whatever comes between, it is removed."""
        self._namespaces.append(Namespace(name_of(self._number, name)))
        return self._namespaces[-1]


def _end(process: subprocess.Popen[Any]) -> None:
    """Kill a process with all that it started, and close its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
