"""BBR's states and what the sender does in each (draft-ietf-ccwg-bbr-06 section 5.6.1)."""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.Enum):
    """Section 5.3; DOWN, CRUISE, REFILL and UP are the four phases of ProbeBW."""

    STARTUP = enum.auto()
    DRAIN = enum.auto()
    DOWN = enum.auto()
    CRUISE = enum.auto()
    REFILL = enum.auto()
    UP = enum.auto()
    PROBE_RTT = enum.auto()


STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT = State


class Tactic(NamedTuple):
    """A row of the table in section 5.6.1."""

    pacing_gain: float
    window_gain: float
    in_probe_bw: bool
    accelerates: bool


TACTICS = {
    STARTUP: Tactic(2.77, 2.0, False, True),
    DRAIN: Tactic(0.5, 2.0, False, False),
    DOWN: Tactic(0.9, 2.0, True, False),
    CRUISE: Tactic(1.0, 2.0, True, False),
    REFILL: Tactic(1.0, 2.0, True, True),
    UP: Tactic(1.25, 2.25, True, True),
    PROBE_RTT: Tactic(1.0, 0.5, False, False),
}
