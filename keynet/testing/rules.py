"""What every layer's conformance checks share: how a check says that a rule is broken.

The rules themselves are in docs/writing-a-plugin.md; each layer's checks stand in a package of
their own beside this file.
"""

from __future__ import annotations

from collections.abc import Callable


class RuleBroken(AssertionError):
    """An implementation does not do what a rule of docs/writing-a-plugin.md asks for."""

    def __init__(self, rule: str, title: str, detail: object) -> None:
        super().__init__(f"{rule} ({title}): {detail}")
        self.rule = rule
        """As the guide numbers it: T-01, R-01 and so on."""


class NotApplicable(Exception):
    """The rule does not concern this implementation; the message says why."""


def judge(rule: str, title: str, check: Callable[[], None]) -> None:
    """Run a check; whatever it raises, but NotApplicable, becomes RuleBroken."""
    try:
        check()
    except (RuleBroken, NotApplicable):
        raise
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        detail = str(cause) if isinstance(cause, AssertionError) else repr(cause)
        raise RuleBroken(rule, title, detail) from error
