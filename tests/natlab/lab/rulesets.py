"""The nftables rulesets and the routing of a home router, as text made from a Nat.

What they have in common with real ones: an unsolicited packet to the router itself is dropped
before conntrack keeps it. Were it kept, it would take the port that a punching host is about to
get, and the kernel's NAT would cease to be endpoint-independent.
"""

from __future__ import annotations

from tests.natlab.lab.kinds import Nat

WAN, LAN, TUN = "wan", "lan", "nat"
MARK = 1
TABLE = 100

STEER = (
    f"rule add pref 10 fwmark {MARK} lookup {TABLE}",
    "rule add pref 20 lookup local",
    "rule del pref 0",
    f"link set {TUN} mtu 1500 up",
    f"route add default dev {TUN} table {TABLE}",
)
"""Marked packets go to the user-space NAT even when they are for the router's own address."""

_ICMP_ERROR_ABOUT_UDP = (
    "icmp type { destination-unreachable, time-exceeded, parameter-problem } @th,136,8 17"
)


def ruleset(nat: Nat, lan: str) -> str:
    """All that the router filters and translates; `lan` is its IPv4 prefix inside."""
    tables = [_filter(nat)]
    if nat.ipv4 == "translated":
        tables.append(_masquerade(nat))
    if not nat.in_kernel:
        tables.append(_steer(lan))
    return "\n".join(tables)


def _filter(nat: Nat) -> str:
    leaving = "" if nat.udp else "tcp dport 443 "
    untracked = "" if nat.in_kernel else f"iifname {TUN} accept; oifname {TUN} accept;"
    return f"""table inet home {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname lo accept
        ct state established,related accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        {untracked}
        ct state established,related accept
        iifname {LAN} oifname {WAN} {leaving}accept
    }}
}}"""


def _masquerade(nat: Nat) -> str:
    """The kernel's translation: of everything, or of all but UDP."""
    fully_random = " fully-random" if nat.behaviour.ports == "random" else ""
    udp = f"meta l4proto udp masquerade{fully_random}" if nat.in_kernel else ""
    return f"""table ip translate {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname {WAN} meta l4proto != udp masquerade
        oifname {WAN} {udp or "accept"}
    }}
}}"""


def _steer(lan: str) -> str:
    """Mark UDP that crosses the router, and the errors about it, for the user-space NAT."""
    crossing = (
        f"iifname {LAN} ip daddr != {lan}",
        f"iifname {WAN} fib daddr type local",
    )
    rules = "\n".join(
        f"        {where} {what} meta mark set {MARK} notrack"
        for where in crossing
        for what in ("meta l4proto udp", _ICMP_ERROR_ABOUT_UDP)
    )
    return f"""table ip steer {{
    chain prerouting {{
        type filter hook prerouting priority raw;
{rules}
        iifname {TUN} notrack
    }}
}}"""
