"""Socket addresses between keynet's form and the system's; IPv6 zones live here alone.

Python's IPv6 socket address is (host, port, flow info, scope id); keynet writes the scope as a
%zone of the host, by interface name.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from keynet.address import SocketAddress

SockAddr = tuple[Any, ...]
"""What the socket module takes and gives: 2 items for IPv4, 4 for IPv6."""


def sockaddr_of(address: SocketAddress) -> SockAddr:
    """The system's form.

    Raises OSError for a zone that names no interface, ValueError for what is no numeric address:
    the system would look a name up, and block.
    """
    host, _, zone = address.host.partition("%")
    ipaddress.ip_address(host)
    if not 0 <= address.port <= 65535:
        raise ValueError(f"not a port: {address.port}")
    return (host, address.port, 0, scope_of(zone)) if address.is_ipv6 else (host, address.port)


def address_of(sockaddr: SockAddr) -> SocketAddress:
    """keynet's form, with the host's text canonical."""
    if len(sockaddr) == 2:
        return SocketAddress(sockaddr[0], sockaddr[1])
    return SocketAddress(ipv6_text(sockaddr[0], sockaddr[3]), sockaddr[1])


def ipv6_text(host: str, scope: int) -> str:
    """`host` canonical, with the %zone that the scope id means."""
    text = str(ipaddress.IPv6Address(host.partition("%")[0]))
    return f"{text}%{zone_of(scope)}" if scope else text


def scope_of(zone: str) -> int:
    """The interface index that `zone` names, by name or number; 0 for none."""
    if not zone:
        return 0
    return int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


def zone_of(scope: int) -> str:
    """The interface's name, or the number when it has gone."""
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)
