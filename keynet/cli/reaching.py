"""Links and seeds in words, for the commands that show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def link_lines(link: dict[str, Any]) -> Iterator[str]:
    """One line for each path, the one in use first."""
    for path in sorted(link["paths"], key=lambda one: not one["in_use"]):
        facts = ["in use" if path["in_use"] else "standby"]
        facts.append("relayed" if path["relayed"] else "direct")
        if path["rtt_ms"] is not None:
            facts.append(f"round trip {path['rtt_ms']:.1f} ms")
        facts.append(f"MTU {path['mtu']}")
        facts.append(f"heard {path['silent_seconds']:.0f} s ago")
        if link["alarmed"] and path["in_use"]:
            facts.append("misses a pong")
        yield f"{path['remote']}: {', '.join(facts)}"
    if not link["paths"]:
        yield "being punched" if link["punching"] else "no path"


def seed_lines(seed: dict[str, Any]) -> Iterator[str]:
    """A seed, and how this node stands there."""
    yield seed["seed"]
    if seed["registered"]:
        yield f"  registered, seen as {seed['observed']}"
    else:
        yield f"  not registered: {seed['error'] or 'being asked'}"
