"""All that a machine's own look at its network gives: for `keynet doctor`. A thin asyncio shell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.discovery.examining import examine
from keynet.discovery.interfaces import host_addresses
from keynet.discovery.nat_behaviour import Behaviour
from keynet.discovery.reflector import Open, small_socket
from keynet.udp.endpoint import bind


@dataclass(frozen=True, slots=True)
class SocketCheck:
    """What the system gives a node's socket of one family."""

    hosts: tuple[str, ...]
    """IP addresses where other machines may find it, if no NAT or firewall is between."""
    receive_buffer: int
    send_buffer: int
    """Bytes, as the system reads them back."""
    refused: bool
    """Whether the system gave smaller buffers than a node asks for."""


@dataclass(frozen=True, slots=True)
class Checkup:
    """Everything found, by family: 4 and 6."""

    sockets: dict[int, SocketCheck]
    """Families that this machine can open a socket of."""
    behaviour: dict[int, Behaviour]
    """What servers of each family showed; none for a family without a server or a socket."""


async def check_up(servers: Sequence[SocketAddress], *, socket: Open = small_socket) -> Checkup:
    """Look at this machine's sockets, and have `servers` look at them; takes up to a minute.

    Families are examined side by side, servers of one family in their order until one answers.
    Cancellable.
    """
    sockets = {
        family: found
        for family, wildcard in ((4, SocketAddress("0.0.0.0", 0)), (6, SocketAddress("::", 0)))
        if (found := await _check_socket(wildcard)) is not None
    }
    by_family = {
        family: [one for one in servers if one.is_ipv6 == (family == 6)] for family in sockets
    }
    examined = await asyncio.gather(*(_examine(some, socket) for some in by_family.values()))
    behaviour = {
        family: found
        for family, found in zip(by_family, examined, strict=True)
        if found is not None
    }
    return Checkup(sockets, behaviour)


async def _check_socket(wildcard: SocketAddress) -> SocketCheck | None:
    try:
        endpoint = await bind((wildcard,))
    except OSError:
        return None
    try:
        stats, family = endpoint.stats(), "ipv6" if wildcard.is_ipv6 else "ipv4"
        return SocketCheck(
            tuple(one.host for one in host_addresses(endpoint.addresses)),
            int(stats[f"{family}_receive_buffer"]),
            int(stats[f"{family}_send_buffer"]),
            bool(stats[f"{family}_buffers_refused"]),
        )
    finally:
        endpoint.close()


async def _examine(servers: list[SocketAddress], socket: Open) -> Behaviour | None:
    """What the first server that answers shows; else that the first one does not."""
    silent: Behaviour | None = None
    for index, server in enumerate(servers):
        found = await examine(server, servers[index + 1 :], socket=socket)
        if found.mapped is not None:
            return found
        silent = silent or found
    return silent
