"""Congestion control of uTP: one contract, and the algorithms by name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from keynet.errors import ConfigError

from .api import Acked, CongestionControl, Lost
from .bbr import Bbr
from .cubic import Cubic
from .ledbat import Ledbat

__all__ = ["ALGORITHMS", "DEFAULT", "Acked", "CongestionControl", "Lost", "create"]

DEFAULT = "bbr"

ALGORITHMS: dict[str, Callable[[int, float, Random], CongestionControl]] = {
    "bbr": Bbr,
    "cubic": lambda mss, now, _random: Cubic(mss, now),
    "ledbat": lambda mss, now, _random: Ledbat(mss, now),
}


def create(name: str, mss: int, now: float, random: Random) -> CongestionControl:
    """A fresh controller for one connection; `random` spreads what must not be in step.

    Raises ConfigError when no algorithm has that name.
    """
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        choices = ", ".join(sorted(ALGORITHMS))
        raise ConfigError(f"no congestion control is called {name!r}; choose one of {choices}")
    return algorithm(mss, now, random)
