"""A home router: a namespace between the internet (or a carrier's network) and a LAN.

What it does to packets is a Nat; nftables does it where it is exact, else a NAT in user space.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path

from tests.natlab.lab.commands import LabError, run
from tests.natlab.lab.internet import ROUTER_SETTINGS
from tests.natlab.lab.kinds import Nat
from tests.natlab.lab.namespaces import Namespace
from tests.natlab.lab.rulesets import LAN, STEER, TUN, WAN, ruleset
from tests.natlab.lab.segments import Attachment, Router, Segment
from tests.natlab.lab.worker import Worker
from tests.natlab.packets.line import Link

HOME_LAN = IPv4Network("192.168.1.0/24")
"""Every home has the same, as in the world: a peer's private address may be one's own."""

CARRIER_LAN = IPv4Network("100.64.0.0/24")
"""Between a carrier's NAT and the homes behind it (RFC 6598)."""


BRIDGE_SETTINGS = Path("/proc/sys/net/bridge")


class Home(Router):
    """The router of a home or of a carrier. `create` builds it; `reboot` acts on it running."""

    def __init__(self, namespace: Namespace, nat: Nat, upstream: Router, link: Link) -> None:
        super().__init__(namespace)
        self.nat = nat
        self._upstream = upstream
        self._link = link
        self._wan: Attachment | None = None
        self._lan: Segment | None = None
        self._translator: Worker | None = None

    @property
    def wan(self) -> Attachment:
        """Its side towards the internet. Only once it is created."""
        assert self._wan is not None, "create comes first"
        return self._wan

    @property
    def behind(self) -> Home | None:
        """The router that it is behind itself, if that is not the internet's."""
        return self._upstream if isinstance(self._upstream, Home) else None

    def create(self) -> None:
        timeout = int(self.nat.behaviour.timeout)
        self.namespace.create(ROUTER_SETTINGS | _lan_settings())
        self._wan = self._upstream.plug(self.namespace, WAN, self._link)
        self._lan = self._make_lan()
        prefix = str(self._lan.ipv4) if self._lan.ipv4 else ""
        if not self.nat.in_kernel:
            self._start_translator(prefix)
        self.namespace.nft(ruleset(self.nat, prefix))
        self.namespace.sysctl(
            {
                "net.netfilter.nf_conntrack_udp_timeout": timeout,
                "net.netfilter.nf_conntrack_udp_timeout_stream": timeout,
            }
        )

    def plug(self, inner: Namespace, interface: str, link: Link) -> Attachment:
        assert self._lan is not None, "create comes first"
        port = f"p{len(self.attachments) + 1}"
        attachment = Attachment(self._lan, self.namespace, port, inner, interface)
        self.attachments.append(attachment)
        attachment.connect(link, f"link set {port} master {LAN}")
        return attachment

    def delegate(self, to: Attachment, *, ipv4: bool, ipv6: bool) -> Segment:
        raise LabError(f"{self.nat.kind} has no public prefixes: plug {to.inner.name} elsewhere")

    def reboot(self) -> None:
        """Forget every mapping, and where addresses are translated, come back with another."""
        if self.nat.ipv4 == "translated":
            self.wan.renew(ipv6=False)
        run(*self.namespace.enter(), "conntrack", "-F")
        if self._translator is not None:
            self._translator.tell(str(self.wan.addresses.ipv4), "rebooted")

    def close(self) -> None:
        try:
            if self._translator is not None:
                self._translator.close()
        finally:
            super().close()

    def _make_lan(self) -> Segment:
        """A bridge, with private addresses or with public ones that the upstream routes here."""
        routed = self.nat.ipv4 == "routed"
        lan = Segment(None, None)
        if routed or self.nat.ipv6:
            lan = self._upstream.delegate(self.wan, ipv4=routed, ipv6=self.nat.ipv6)
        if self.nat.ipv4 == "translated":
            lan.ipv4 = CARRIER_LAN if self.nat.is_carrier else HOME_LAN
        self.namespace.ip(
            f"link add {LAN} type bridge",
            *lan.gateways().lines("add", LAN),
            f"link set {LAN} up",
        )
        return lan

    def _start_translator(self, inside: str) -> None:
        behaviour = json.dumps(asdict(self.nat.behaviour))
        public = str(self.wan.addresses.ipv4)
        self._translator = Worker("nat_worker", self.namespace.name, TUN, public, inside, behaviour)
        self._translator.start()
        self.namespace.ip(*STEER)


def _lan_settings() -> dict[str, int]:
    """The user-space NAT sends from the router's own address, and a LAN is not filtered."""
    settings = {"net.ipv4.conf.all.accept_local": 1}
    if BRIDGE_SETTINGS.exists():  # where br_netfilter is loaded, it hands bridged packets to nft
        settings |= {f"net.bridge.bridge-nf-call-{what}tables": 0 for what in ("ip", "ip6", "arp")}
    return settings
