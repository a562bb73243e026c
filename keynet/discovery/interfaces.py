"""The addresses of this machine's own interfaces: a node's host candidates."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import ifaddr

from keynet.address import SocketAddress

MAX_ADDRESSES = 32


def host_addresses(
    bound: Sequence[SocketAddress], found: Iterable[str] | None = None
) -> tuple[SocketAddress, ...]:
    """Where sockets bound to `bound` can be reached without a NAT; at most MAX_ADDRESSES.

    A wildcard stands for every address of its family that the interfaces have; loopback and
    link-local ones are left out there, since they mean nothing to another machine. `found` are the
    interfaces' addresses, by default the system's own. Raises nothing: a system that cannot list
    its interfaces has none.
    """
    addresses: dict[SocketAddress, None] = {}
    known: list[str] | None = None
    for one in bound:
        if not ipaddress.ip_address(one.host.partition("%")[0]).is_unspecified:
            addresses[one] = None
            continue
        if known is None:
            known = sorted(found if found is not None else interface_addresses())
        for host in known:
            if (":" in host) == one.is_ipv6 and _speaks_for_itself(host):
                addresses[SocketAddress(host, one.port)] = None
    return tuple(addresses)[:MAX_ADDRESSES]


def interface_addresses() -> list[str]:
    """Every IP address of every interface, in canonical text."""
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError:
        return []
    texts = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for a in adapters for ip in a.ips]
    return [str(ipaddress.ip_address(text)) for text in texts]


def _speaks_for_itself(host: str) -> bool:
    ip = ipaddress.ip_address(host)
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast)
