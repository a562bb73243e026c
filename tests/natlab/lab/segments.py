"""A network segment and how a namespace is plugged into it: addresses, cable, routes, losses."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tests.natlab.lab.commands import run
from tests.natlab.lab.namespaces import Namespace
from tests.natlab.lab.worker import Worker
from tests.natlab.packets.line import Link

MTU = 1500


@dataclass(slots=True)
class Segment:
    """The prefixes of one link; its gateway has the first address of each."""

    ipv4: IPv4Network | None
    ipv6: IPv6Network | None
    last_number: int = 1
    """Of the host that came last; the gateway is 1."""

    def gateways(self) -> Addresses:
        return self._numbered(1)

    def take(self) -> Addresses:
        """The next free address of each family."""
        self.last_number += 1
        return self._numbered(self.last_number)

    def _numbered(self, number: int) -> Addresses:
        return Addresses(
            self.ipv4[number] if self.ipv4 else None, self.ipv6[number] if self.ipv6 else None
        )


@dataclass(frozen=True, slots=True)
class Addresses:
    """What one interface has, of each family at most one."""

    ipv4: IPv4Address | None
    ipv6: IPv6Address | None

    def __str__(self) -> str:
        return ", ".join(str(address) for address in (self.ipv4, self.ipv6) if address)

    def lines(self, verb: str, interface: str) -> list[str]:
        """`ip` lines that add or delete them."""
        lines = [f"addr {verb} {self.ipv4}/24 dev {interface}"] if self.ipv4 else []
        tentative = " nodad" if verb == "add" else ""
        if self.ipv6:
            lines.append(f"addr {verb} {self.ipv6}/64 dev {interface}{tentative}")
        return lines

    def default_routes(self) -> list[str]:
        """`ip` lines that route everything via them."""
        via = [str(address) for address in (self.ipv4, self.ipv6) if address]
        return [f"route replace default via {address}" for address in via]


class Attachment:
    """A namespace's interface in a segment, from the cable to the default route."""

    def __init__(
        self, segment: Segment, outer: Namespace, port: str, inner: Namespace, interface: str
    ) -> None:
        self.segment = segment
        self.inner = inner
        self.interface = interface
        self.addresses = segment.take()
        self._outer, self._port = outer, port
        self._wire: Worker | None = None

    def connect(self, link: Link, *outer_lines: str) -> None:
        """Lay the cable and bring both ends up; `outer_lines` set the far end up besides."""
        ends = (self.inner.name, self.interface, self._outer.name, self._port)
        if link.is_plain:
            veth = "link add {1} netns {0} mtu {4} type veth peer name {3} netns {2} mtu {4}"
            run("ip", "-batch", "-", stdin=veth.format(*ends, MTU))
        else:
            self._wire = Worker("wire_worker", *ends, json.dumps(asdict(link)))
            self._wire.start()
        self._outer.ip(*outer_lines, f"link set {self._port} up")
        self.inner.ip(
            *self.addresses.lines("add", self.interface),
            f"link set {self.interface} up",
            *self.segment.gateways().default_routes(),
        )

    def renew(self, *, ipv6: bool = True) -> None:
        """Give up the addresses for new ones, the IPv6 one only where asked."""
        old, new = self.addresses, self.segment.take()
        if not ipv6:
            old, new = Addresses(old.ipv4, None), Addresses(new.ipv4, old.ipv6)
        changed = new if ipv6 else Addresses(new.ipv4, None)
        self.addresses = new
        self.inner.ip(
            *old.lines("del", self.interface),
            *changed.lines("add", self.interface),
            *self.segment.gateways().default_routes(),
        )

    def lose(self, fraction: float) -> None:
        """Drop that fraction of the packets in each direction; 0 ends it, 1 is a cut cable."""
        parts = round(fraction * 1000)
        chance = f"numgen random mod 1000 < {parts} " if parts < 1000 else ""
        hooks = "".join(
            f"chain {hook} {{\ntype filter hook {hook} device {self._port} priority 0;\n"
            f"{chance}drop\n}}\n"
            for hook in ("ingress", "egress")
        )
        table = f"loss-{self._port}"
        self._outer.nft(
            f"table netdev {table}\ndelete table netdev {table}\n"
            + (f"table netdev {table} {{\n{hooks}}}\n" if parts else "")
        )

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


class Router(ABC):
    """A namespace that others are plugged into."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.attachments: list[Attachment] = []

    @abstractmethod
    def plug(self, inner: Namespace, interface: str, link: Link) -> Attachment:
        """Connect a namespace to a segment of this router."""

    @abstractmethod
    def delegate(self, to: Attachment, *, ipv4: bool, ipv6: bool) -> Segment:
        """Route a prefix of each family asked for to that attachment. Raises LabError where
        there is none to give."""

    def close(self) -> None:
        """End the wires; the cables go with the namespaces."""
        with contextlib.ExitStack() as stack:
            for attachment in self.attachments:
                stack.callback(attachment.close)
