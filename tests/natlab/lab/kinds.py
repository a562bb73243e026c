"""The kinds of NAT that tests name, as values.

`nat("symmetric", timeout=5)` is the way in. How a kind is built stands in `home`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tests.natlab.packets.behaviour import BY_ADDRESS, BY_PORT, INDEPENDENT, USUAL, Behaviour


@dataclass(frozen=True, slots=True)
class Nat:
    """A kind of home router."""

    kind: str
    """What tests call it."""
    behaviour: Behaviour = USUAL
    """Its NAT, or where it only routes, its firewall."""
    ipv4: Literal["translated", "routed", "none"] = "translated"
    """Routed: the home has public addresses, behind a stateful firewall."""
    ipv6: bool = False
    """Whether the home has IPv6 besides, public and behind a stateful firewall."""
    udp: bool = True
    """Otherwise nothing leaves but TCP to port 443."""
    carrier: Nat | None = None
    """The NAT of the provider that this home stands behind."""
    is_carrier: bool = False
    """Whether homes stand behind it, and not hosts."""

    @property
    def in_kernel(self) -> bool:
        """Whether nftables does this exactly; otherwise UDP is translated in user space."""
        kernel = (
            Behaviour(INDEPENDENT, BY_PORT, "preserved"),
            Behaviour(BY_PORT, BY_PORT, "random"),
        )
        plain = replace(self.behaviour, timeout=USUAL.timeout)
        return self.ipv4 != "translated" or plain in kernel

    def summary(self) -> str:
        """One line for people."""
        if not self.udp:
            return "nothing leaves but TCP to port 443"
        behaviour, where = self.behaviour, "nftables" if self.in_kernel else "user space"
        if self.ipv4 != "translated":
            family = "IPv4" if self.ipv4 == "routed" else "IPv6"
            return f"stateful firewall, {family} without translation"
        parts = [f"mapping {behaviour.mapping}", f"filtering {behaviour.filtering}"]
        parts += [f"ports {behaviour.ports}", *(["hairpin"] if behaviour.hairpin else [])]
        behind = f"; behind {self.carrier.kind}" if self.carrier else ""
        return f"{', '.join(parts)}; by {where}{behind}"


_CARRIER = Nat("carrier", Behaviour(INDEPENDENT, BY_PORT, "random"), is_carrier=True)
_HAIRPINNING = replace(
    _CARRIER, kind="carrier-hairpin", behaviour=replace(_CARRIER.behaviour, hairpin=True)
)

KINDS = {
    kind.kind: kind
    for kind in (
        Nat("full-cone", Behaviour(INDEPENDENT, INDEPENDENT)),
        Nat("address-restricted", Behaviour(INDEPENDENT, BY_ADDRESS)),
        Nat("port-restricted"),
        Nat("hairpinning", Behaviour(INDEPENDENT, BY_PORT, hairpin=True)),
        Nat("address-dependent", Behaviour(BY_ADDRESS, BY_ADDRESS, "random")),
        Nat("symmetric", Behaviour(BY_PORT, BY_PORT, "random")),
        Nat("symmetric-sequential", Behaviour(BY_PORT, BY_PORT, "sequential")),
        _CARRIER,
        _HAIRPINNING,
        Nat("carrier-grade", carrier=_CARRIER),
        Nat("carrier-grade-hairpin", carrier=_HAIRPINNING),
        Nat("firewall", ipv4="routed"),
        Nat("ipv6-firewall", ipv4="none", ipv6=True),
        Nat("udp-blocked", udp=False),
    )
}
"""Every kind by name. `carrier` and `carrier-hairpin` are for homes to stand behind."""


def nat(
    kind: str,
    *,
    timeout: float | None = None,
    hairpin: bool | None = None,
    ipv6: bool | None = None,
) -> Nat:
    """The kind of that name, changed where asked. `timeout` is in whole seconds, and also the
    carrier's where there is one. Raises ValueError for a name that is not in KINDS."""
    if kind not in KINDS:
        raise ValueError(f"no NAT kind {kind!r}: choose from {', '.join(KINDS)}")
    found = KINDS[kind]
    behaviour = found.behaviour
    if timeout is not None:
        behaviour = replace(behaviour, timeout=timeout)
        carrier = found.carrier
        if carrier is not None:
            carrier = replace(carrier, behaviour=replace(carrier.behaviour, timeout=timeout))
        found = replace(found, carrier=carrier)
    if hairpin is not None:
        behaviour = replace(behaviour, hairpin=hairpin)
    return replace(found, behaviour=behaviour, ipv6=found.ipv6 if ipv6 is None else ipv6)
