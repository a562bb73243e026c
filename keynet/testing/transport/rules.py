"""What a conformance check is: a numbered rule of docs/writing-a-plugin.md, and a function.

A check takes the factory of a transport and returns nothing. It raises RuleBroken, which names
the rule, or NotApplicable, which says why the rule does not concern this transport.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keynet.testing.rules import NotApplicable, RuleBroken, judge
from keynet.transport.api import Capability, Transport

__all__ = ["CHECKS", "Check", "NotApplicable", "RuleBroken", "TransportFactory", "rule"]

TransportFactory = Callable[[], Transport]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. Call it with a transport's factory."""

    rule: str
    title: str
    needs: Capability
    """What a transport must be able to do for the rule to concern it."""
    function: Callable[[TransportFactory], None]

    @property
    def name(self) -> str:
        return self.function.__name__

    def __call__(self, make: TransportFactory) -> None:
        judge(self.rule, self.title, lambda: self._run(make))

    def _run(self, make: TransportFactory) -> None:
        missing = self.needs & ~make().capabilities
        if missing:
            raise NotApplicable(f"{self.rule}: the transport does not offer {missing.name}")
        self.function(make)


CHECKS: list[Check] = []
"""Every check, in the order of the guide's numbers once `keynet.testing.transport` is imported."""


def rule(
    number: str, title: str, needs: Capability = Capability.NONE
) -> Callable[[Callable[[TransportFactory], None]], Check]:
    """Make a Check of the function below, and count it among CHECKS."""

    def decorate(function: Callable[[TransportFactory], None]) -> Check:
        check = Check(number, title, needs, function)
        CHECKS.append(check)
        CHECKS.sort(key=lambda check: check.rule)
        return check

    return decorate
