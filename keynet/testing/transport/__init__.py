"""Conformance checks for transports, as docs/writing-a-plugin.md numbers its rules.

    from keynet.testing.transport import CHECKS
    for check in CHECKS:
        check(my_factory)          # RuleBroken names the rule; NotApplicable says why not

No pytest is needed; with it, `keynet.testing.pytest_plugin` makes a test of each.
"""

from keynet.testing.transport import (
    endings,
    handshakes,
    hostile,
    hosts,
    networks,
    streams,
)
from keynet.testing.transport.rules import (
    CHECKS,
    Check,
    NotApplicable,
    RuleBroken,
    TransportFactory,
)

__all__ = [
    "CHECKS",
    "Check",
    "NotApplicable",
    "RuleBroken",
    "TransportFactory",
    "endings",
    "handshakes",
    "hostile",
    "hosts",
    "networks",
    "streams",
]
