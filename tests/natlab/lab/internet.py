"""The internet of a lab: one router with a network of its own for each that is plugged in.

The ranges look global to every program but are routed nowhere outside: nothing in a lab has a way
out of it.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from tests.natlab.lab.namespaces import Namespace
from tests.natlab.lab.segments import Attachment, Router, Segment
from tests.natlab.packets.line import Link

ROUTER_SETTINGS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
}
ACCESS_IPV4, ACCESS_IPV6 = "21.0.{}.0/24", "2a0a:15:{:x}::/64"
DELEGATED_IPV4, DELEGATED_IPV6 = "21.1.{}.0/24", "2a0a:16:{:x}::/64"


class Internet(Router):
    """Holds 254 networks, and as many delegated ones."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self._delegated = 0

    def create(self) -> None:
        self.namespace.create(ROUTER_SETTINGS)

    def plug(self, inner: Namespace, interface: str, link: Link) -> Attachment:
        number = len(self.attachments) + 1
        segment = Segment(
            IPv4Network(ACCESS_IPV4.format(number)), IPv6Network(ACCESS_IPV6.format(number))
        )
        port = f"to{number}"
        attachment = Attachment(segment, self.namespace, port, inner, interface)
        self.attachments.append(attachment)
        attachment.connect(link, *segment.gateways().lines("add", port))
        return attachment

    def delegate(self, to: Attachment, *, ipv4: bool, ipv6: bool) -> Segment:
        self._delegated += 1
        segment = Segment(
            IPv4Network(DELEGATED_IPV4.format(self._delegated)) if ipv4 else None,
            IPv6Network(DELEGATED_IPV6.format(self._delegated)) if ipv6 else None,
        )
        routes = ((segment.ipv4, to.addresses.ipv4), (segment.ipv6, to.addresses.ipv6))
        self.namespace.ip(*(f"route add {prefix} via {via}" for prefix, via in routes if prefix))
        return segment
