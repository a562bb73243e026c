"""Network namespaces by name: made, set up, entered and removed, also those of a dead run.

A name carries the process id of the run that made it, so runs beside each other do not collide
and the leftovers of a crashed one are told by their dead process. No addresses or NATs here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.natlab.lab.commands import LabError, run

DIRECTORY = Path("/run/netns")
NO_WAIT = {
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.all.accept_ra": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}
"""IPv6 addresses work at once; the kernel else takes two seconds to see that nobody has them."""
NAME = re.compile(r"keynet-lab-(?P<pid>\d+)-\d+-.+")


def name_of(lab: int, node: str) -> str:
    """The namespace of a node in this process's lab number `lab`."""
    return f"keynet-lab-{os.getpid()}-{lab}-{node}"


class Namespace:
    """One namespace. Construction does nothing; `create` makes it, `delete` is idempotent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self, settings: Mapping[str, int]) -> None:
        """Make it, with its loopback up and `settings` (sysctl names to values) in force.

        The settings come before any interface, so that every interface inherits them.
        """
        run("ip", "netns", "add", self.name)
        self.ip("link set lo up")
        self.sysctl({**NO_WAIT, **settings})

    def delete(self) -> None:
        """Kill what runs in it, and remove it with every interface."""
        if not (DIRECTORY / self.name).exists():
            return
        for pid in run("ip", "netns", "pids", self.name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", self.name, check=False)

    def ip(self, *lines: str) -> None:
        """Give these lines to one `ip` inside it."""
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(lines))

    def nft(self, ruleset: str) -> None:
        """Load a ruleset in one commit."""
        run(*self.enter(), "nft", "-f", "-", stdin=ruleset)

    def sysctl(self, settings: Mapping[str, int]) -> None:
        paths = ((f"/proc/sys/{name.replace('.', '/')}", value) for name, value in settings.items())
        script = "".join(f"echo {value} > {path}\n" for path, value in paths)
        if script:
            run(*self.enter(), "sh", "-e", stdin=script)

    def enter(self) -> tuple[str, ...]:
        """What to put before a command to run it inside."""
        return ("ip", "netns", "exec", self.name)


def ours() -> list[str]:
    """The names of all namespaces that a lab made, this run's and others'."""
    try:
        return sorted(name for name in os.listdir(DIRECTORY) if NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def remove_stale() -> list[str]:
    """Remove the namespaces of runs whose process is dead, and return their names."""
    stale = [name for name in ours() if not _alive(_maker(name))]
    for name in stale:
        Namespace(name).delete()
    return stale


def obstacle() -> str | None:
    """Why no lab can be built here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "nft", "conntrack") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (run `make natlab`)"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing"
    trial = Namespace(name_of(0, "trial"))
    try:
        trial.create({})
        trial.nft("table ip trial {\nchain c {\ntype nat hook postrouting priority srcnat;\n}\n}")
    except LabError as error:
        return f"this machine does not allow it: {error}"
    finally:
        trial.delete()
    return None


def _maker(name: str) -> int:
    match = NAME.fullmatch(name)
    assert match is not None
    return int(match["pid"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
