"""What a checkup's findings mean for who wants to be reached, in words. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from keynet.discovery.checkup import Checkup
from keynet.discovery.nat_behaviour import Behaviour, Filtering
from keynet.discovery.reflexive import Mapping

COMMON_MTU = 1232
"""The UDP payload that every network should carry (IPv6's least)."""
ETHERNET_MTU = 1452
"""From here on, nothing but Ethernet is on the way."""

_UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


def advice(found: Checkup) -> list[str]:
    """One sentence or two for each finding that somebody can do something about, or should know."""
    lines = list(_of_sockets(found))
    for family, behaviour in found.behaviour.items():
        lines += [f"IPv{family}: {line}" for line in _of(behaviour)]
    if not found.behaviour:
        lines.append(
            "What NATs and firewalls do here is unknown: name a seed with --seed "
            "NODEID@HOST:PORT, or any STUN server with --stun HOST:PORT."
        )
    return lines


def _of_sockets(found: Checkup) -> Iterator[str]:
    if not any(one.hosts for one in found.sockets.values()):
        yield "No interface has an address that others can reach: this machine is offline."
    elif 6 not in found.sockets or all(map(_is_unique_local, found.sockets[6].hosts)):
        yield (
            "There is no IPv6 here. Nothing is wrong with that; with it, most peers would be "
            "reached without any NAT between."
        )
    if any(one.refused for one in found.sockets.values()):
        yield (
            "The system gives smaller socket buffers than a node asks for, which costs "
            "throughput: on Linux, raise net.core.rmem_max and net.core.wmem_max to 8388608."
        )


def _is_unique_local(host: str) -> bool:
    """Whether it means something in one network only (RFC 4193)."""
    return ipaddress.ip_address(host) in _UNIQUE_LOCAL


def _of(found: Behaviour) -> Iterator[str]:
    if found.mapped is None:
        yield (
            f"{found.server} does not answer. Either it is not running, or UDP is blocked on the "
            "way, as in some company and guest networks: ask another server with --stun, and if "
            "none answers, have UDP let out."
        )
        return
    yield _of_mapping(found)
    if found.mapping is not Mapping.NONE and found.hairpinning is False:
        yield (
            "This NAT does not turn datagrams back inside: two nodes behind it find each other by "
            "their private addresses, which a node tells those that it allows."
        )
    yield from _of_mtu(found)


def _of_mapping(found: Behaviour) -> str:
    if found.mapping is Mapping.NONE:
        return _without_nat(found)
    if found.mapping is Mapping.UNKNOWN:
        return (
            "How the NAT maps is unknown: that takes a seed that runs with --alternate, or a "
            "second server (name another --seed or --stun)."
        )
    if found.mapping.is_dependent:
        return (
            "The NAT is symmetric: each peer sees another port, so that nobody can be told where "
            "to knock. Direct paths come about only with peers without a NAT, or whose NAT does "
            "not filter by port; others will need a relay. Forward a UDP port to this machine "
            "and listen on it (--listen 0.0.0.0:PORT), and all can reach it."
        )
    if found.filtering is Filtering.INDEPENDENT:
        return "The NAT can be punched, and lets everybody in once it is: every peer is reached."
    return (
        "The NAT can be punched, through a seed: peers are reached directly, unless theirs is "
        "symmetric and this one filters by port."
    )


def _without_nat(found: Behaviour) -> str:
    if found.filtering is Filtering.INDEPENDENT:
        return (
            "Everybody reaches this machine: peers need no seed, only its address (--peer), and "
            "it would make a good seed."
        )
    if found.filtering is Filtering.UNKNOWN:
        return "There is no NAT; whether a firewall filters is unknown with this server."
    return (
        "There is no NAT, but a firewall lets in only answers: peers come in through a seed, or "
        "at once if the node's UDP port is opened."
    )


def _of_mtu(found: Behaviour) -> Iterator[str]:
    largest = found.tried[-1] if found.tried else 0
    if found.mtu is None:
        yield "How large datagrams may be is unknown: the server does not answer padded questions."
    elif found.mtu < COMMON_MTU:
        yield (
            f"Datagrams of more than {found.mtu} bytes are lost on the way; every network should "
            f"carry {COMMON_MTU}. Look for a tunnel with a wrong MTU."
        )
    elif found.mtu < min(ETHERNET_MTU, largest):
        yield (
            f"Datagrams of more than {found.mtu} bytes are lost on the way, as through a tunnel: "
            "nodes find that out by themselves."
        )
