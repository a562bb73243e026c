"""Conformance checks for RPC bindings, as docs/writing-a-plugin.md numbers its rules.

    from keynet.testing.rpc import CHECKS
    for check in CHECKS:
        check(my_factory)          # RuleBroken names the rule; NotApplicable says why not

No pytest is needed; with it, `keynet.testing.pytest_plugin` makes a test of each.
"""

from keynet.testing.rpc import calls, context, deadlines, endings, flow, hostile, limits, statuses
from keynet.testing.rpc.rules import CHECKS, BindingFactory, Check, NotApplicable, RuleBroken

__all__ = [
    "CHECKS",
    "BindingFactory",
    "Check",
    "NotApplicable",
    "RuleBroken",
    "calls",
    "context",
    "deadlines",
    "endings",
    "flow",
    "hostile",
    "limits",
    "statuses",
]
