"""What a check of a binding is: a numbered rule of docs/writing-a-plugin.md, and a function.

A check is called with a binding's factory, and with `sockets=True` when the binding cannot live on
byte streams and virtual time alone. It raises RuleBroken, which names the rule, or NotApplicable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from keynet.rpc.api import Binding
from keynet.testing.clock import FaultInCallback, TasksLeaked, run
from keynet.testing.rpc.ends import Ends, Pairing
from keynet.testing.rpc.network import in_memory
from keynet.testing.rpc.sockets import over_sockets
from keynet.testing.rules import NotApplicable, RuleBroken, judge

__all__ = ["CHECKS", "BindingFactory", "Check", "NotApplicable", "RuleBroken", "rule"]

BindingFactory = Callable[[], Binding]

VIRTUAL_LIMIT = 3600.0
"""Seconds that a check may take of a time that costs nothing."""
REAL_LIMIT = 120.0
SETTLING = 1.0
"""Seconds that tasks have to end, in real time, once a check is over."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. Call it with a binding's factory."""

    rule: str
    title: str
    virtual_time: bool
    """Whether it waits for what nobody would wait for in real time."""
    function: Callable[[Ends], Awaitable[None]]

    @property
    def name(self) -> str:
        return self.function.__name__

    def __call__(
        self, make: BindingFactory, *, sockets: bool = False, pairing: Pairing = in_memory
    ) -> None:
        """Run it. With `sockets` the two ends are joined by loopback TCP, in real time; else by
        what `pairing` gives, in virtual time."""
        pairing = over_sockets if sockets else pairing
        judge(self.rule, self.title, lambda: self._run(make, pairing))

    def _run(self, make: BindingFactory, pairing: Pairing) -> None:
        if pairing is not over_sockets:
            run(_awaited(self.function(Ends(make, pairing))), limit=VIRTUAL_LIMIT)
        elif self.virtual_time:
            raise NotApplicable(f"{self.rule}: the binding cannot run in virtual time")
        else:
            run_in_real_time(self.function(Ends(make, pairing)))


async def _awaited(program: Awaitable[None]) -> None:
    await program


def run_in_real_time(program: Awaitable[None]) -> None:
    """Run it on an ordinary loop, within REAL_LIMIT. Raises as `keynet.testing.clock.run` does."""
    faults: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with asyncio.timeout(REAL_LIMIT):
            await program
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left and (await asyncio.wait(left, timeout=SETTLING))[1]:
            raise TasksLeaked("left behind: " + ", ".join(sorted(t.get_name() for t in left)))

    asyncio.run(watched())
    if faults:
        raise FaultInCallback(str(faults[0].get("message"))) from faults[0].get("exception")


CHECKS: list[Check] = []
"""Every check, in the order of the guide's numbers once `keynet.testing.rpc` is imported."""


def rule(
    number: str, title: str, *, virtual_time: bool = False
) -> Callable[[Callable[[Ends], Awaitable[None]]], Check]:
    """Make a Check of the coroutine function below, and count it among CHECKS."""

    def decorate(function: Callable[[Ends], Awaitable[None]]) -> Check:
        check = Check(number, title, virtual_time, function)
        CHECKS.append(check)
        CHECKS.sort(key=lambda check: check.rule)
        return check

    return decorate
