"""What a NAT does to UDP, as a value in the words of RFC 4787."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dependence = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["preserved", "random", "sequential"]

INDEPENDENT: Dependence = "endpoint-independent"
BY_ADDRESS: Dependence = "address-dependent"
BY_PORT: Dependence = "address-and-port-dependent"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How UDP is translated and filtered, in the words of RFC 4787."""

    mapping: Dependence = INDEPENDENT
    """What of the remote endpoint decides which public port is used (section 4.1)."""
    filtering: Dependence = BY_PORT
    """From whom a mapping lets packets in, measured by whom it was used towards (section 5)."""
    ports: Ports = "preserved"
    """How the public port is chosen (section 4.2)."""
    hairpin: bool = False
    """Whether two insiders reach each other by public address (section 6)."""
    timeout: float = 120.0
    """Seconds without a packet after which a mapping is forgotten (section 4.3)."""


USUAL = Behaviour()
"""What most homes have."""
