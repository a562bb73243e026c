"""Hosts, homes and NATs in network namespaces. See docs/natlab.md."""

from tests.natlab.lab.commands import LabError
from tests.natlab.lab.home import Home
from tests.natlab.lab.kinds import KINDS, Nat, nat
from tests.natlab.lab.lab import Host, Lab
from tests.natlab.lab.namespaces import obstacle
from tests.natlab.packets.line import Link

__all__ = [
    "KINDS",
    "Home",
    "Host",
    "Lab",
    "LabError",
    "Link",
    "Nat",
    "nat",
    "obstacle",
]
