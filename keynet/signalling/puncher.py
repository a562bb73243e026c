"""When to ping which of a peer's addresses, so that both NATs open at once. Pure schedule.

Both sides begin at the same moment and ping every address of the other. The first ping of one side
opens its own NAT, and may be dropped by the other's; the next ones pass. Addresses that have not
answered get a few datagrams and no more: a peer may name anybody's.
"""

from __future__ import annotations

import random as _random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from keynet.address import SocketAddress
from keynet.signalling.candidate import (
    MAX_CANDIDATES,
    Candidate,
    CandidateKind,
    best,
    candidate,
    is_usable,
)


@dataclass(frozen=True, slots=True)
class PunchSettings:
    """All in seconds but the counts."""

    pacing: float = 0.05
    """Between two pings, whatever their addresses (RFC 8445 section 14: Ta)."""
    pauses: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6, 2.0)
    """After each ping to one address: an attempt sends so many, and lasts so long."""
    attempts: int = 3
    linger: float = 2.0
    """After the first path is open, for better ones to open as well."""


class Fate(Enum):
    """What became of one address."""

    WAITING = "not tried yet"
    TRIED = "no answer"
    ANSWERED = "answered"
    REFUSED = "not probed"
    FAILED = "sending failed"


@dataclass(slots=True)
class Outcome:
    """One address of the peer, and what came of it: what `keynet why` shows."""

    candidate: Candidate
    fate: Fate = Fate.WAITING
    pings: int = 0
    rtt: float | None = None
    """Seconds, once it has answered."""
    detail: str = ""
    """For people: which rule refused it, or how sending failed."""


MAX_TARGETS = 2 * MAX_CANDIDATES
"""Addresses tried for one peer: what it told, and where its pings came from."""


@dataclass(slots=True)
class _Target:
    """An address that may be pinged."""

    outcome: Outcome
    due_at: float
    told: bool
    """By the peer itself, or somebody who knows it. To any other address goes one ping for each
    that comes from there: a replayed ping may name anybody as its source."""
    sent: int = 0
    """Pings of this attempt."""


class Puncher:
    """One peer's addresses, to be tried from `start_at` on."""

    def __init__(
        self,
        candidates: Iterable[Candidate],
        start_at: float,
        *,
        settings: PunchSettings | None = None,
        families: frozenset[int] = frozenset({4, 6}),
        loopback: bool = False,
        rng: _random.Random | None = None,
    ) -> None:
        """`families` are those that this node has sockets of; `loopback` lets it ping there."""
        self._settings = settings or PunchSettings()
        self._rng = rng or _random.Random()
        self._loopback = loopback
        self._families = families
        self._targets: dict[SocketAddress, _Target] = {}
        self._next_at = start_at
        self._attempt_ends_at = start_at + sum(self._settings.pauses)
        self.outcomes: list[Outcome] = []
        """Of every address, best first."""
        self.attempt = 1
        self.opened_at: float | None = None
        self.finished = False
        for one in best(candidates):
            self._take(one, start_at)
        if not self._targets:
            self.finished = True

    @property
    def opened(self) -> bool:
        """Whether an address has answered."""
        return self.opened_at is not None

    def learn(self, address: SocketAddress, now: float) -> None:
        """The peer's ping came from `address`: try it at once (RFC 8445 section 7.3.1.4)."""
        if self.finished:
            return
        target = self._targets.get(address)
        if target is None:
            if len(self.outcomes) < MAX_TARGETS:
                self._take(candidate(CandidateKind.REFLEXIVE, address), now, told=False)
        elif target.outcome.fate is not Fate.ANSWERED:
            target.due_at = min(target.due_at, now)
            target.sent = min(target.sent, len(self._settings.pauses) - 1)

    def due(self, now: float) -> SocketAddress | None:
        """The next address to ping, once its time has come; call until it gives None."""
        if self.finished:
            return None
        if now >= self._attempt_ends_at:
            self._end_attempt(now)
            return None
        if now < self._next_at:
            return None
        waiting = [t for t in self._targets.values() if t.due_at <= now]
        if not waiting:
            return None
        target = min(waiting, key=lambda t: (t.due_at, -t.outcome.candidate.priority))
        target.due_at = self._again_at(target, now)
        target.sent += 1
        target.outcome.pings += 1
        target.outcome.fate = Fate.TRIED
        self._next_at = now + self._settings.pacing * self._rng.uniform(0.8, 1.2)
        return target.outcome.candidate.address

    def answered(self, address: SocketAddress, rtt: float, now: float) -> None:
        """An authentic pong came from `address`."""
        target = self._targets.get(address)
        if target is None:
            return
        target.outcome.fate, target.outcome.rtt = Fate.ANSWERED, rtt
        target.due_at = float("inf")
        if self.opened_at is None:
            self.opened_at = now
            self._attempt_ends_at = min(self._attempt_ends_at, now + self._settings.linger)

    def failed(self, address: SocketAddress, reason: str) -> None:
        """A ping could not even be sent."""
        target = self._targets.get(address)
        if target is not None and target.outcome.fate is not Fate.ANSWERED:
            target.outcome.fate, target.outcome.detail = Fate.FAILED, reason

    def next_deadline(self) -> float | None:
        """When `due` is worth calling again; None when it is finished."""
        if self.finished:
            return None
        soonest = min((t.due_at for t in self._targets.values()), default=float("inf"))
        return min(max(soonest, self._next_at), self._attempt_ends_at)

    def why(self) -> str:
        """In one line, what came of it."""
        tried = [one for one in self.outcomes if one.fate is Fate.TRIED]
        if self.opened:
            return "a path is open"
        if not self.outcomes:
            return "the peer told no address"
        if not tried:
            return f"none of its {len(self.outcomes)} addresses may be probed from here"
        addresses = ", ".join(str(one.candidate.address) for one in tried[:4])
        more = f" and {len(tried) - 4} more" if len(tried) > 4 else ""
        return f"no answer from {addresses}{more} in {self.attempt} attempts"

    def _again_at(self, target: _Target, now: float) -> float:
        """When to ping it once more, after the ping of `now`."""
        pauses = self._settings.pauses
        if not target.told or target.sent + 1 >= len(pauses):
            return float("inf")
        return now + pauses[target.sent] * self._rng.uniform(0.8, 1.2)

    def _end_attempt(self, now: float) -> None:
        if self.opened or self.attempt >= self._settings.attempts:
            self.finished = True
            return
        self.attempt += 1
        self._attempt_ends_at = now + sum(self._settings.pauses)
        for target in self._targets.values():
            if target.told:
                target.due_at, target.sent = now, 0

    def _take(self, one: Candidate, due_at: float, *, told: bool = True) -> None:
        outcome = Outcome(one)
        self.outcomes.append(outcome)
        refusal = self._refusal(one.address)
        if refusal is not None:
            outcome.fate, outcome.detail = Fate.REFUSED, refusal
        else:
            self._targets[one.address] = _Target(outcome, due_at, told)

    def _refusal(self, address: SocketAddress) -> str | None:
        if not is_usable(address, loopback=self._loopback):
            return "an address that no other node can be reached at"
        if (6 if address.is_ipv6 else 4) not in self._families:
            return "this node has no socket of that family"
        return None
