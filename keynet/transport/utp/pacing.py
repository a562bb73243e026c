"""When bytes may leave: a token bucket that releases them in quanta of about one millisecond.

It knows a rate and a clock that is passed in, nothing of windows, packets or sockets.
"""

from __future__ import annotations

import math
import sys

QUANTUM_INTERVAL = 0.001
"""Seconds of the rate in one quantum: long enough for large batches, short for the queue."""
MIN_QUANTUM_PACKETS = 2
MAX_LATENESS = 0.005
"""Seconds of a late wake-up that are made up for; event loops wake on whole milliseconds."""
UNLIMITED = sys.maxsize


class Pacer:
    """Bytes per second turned into permission to send.

    The bucket holds one quantum, so that a burst after idleness is one quantum and no more.
    Only a sender that was told to wait (`next_send_at`) and was woken late finds more in it.
    """

    __slots__ = ("_due_at", "_filled_at", "_half", "_mss", "_quantum", "_rate", "_tokens")

    def __init__(self, mss: int, now: float, rate: float = math.inf) -> None:
        self._mss = mss
        self._filled_at = now
        self._due_at: float | None = None
        self._rate = rate
        self._size_quantum()
        self._tokens = self._quantum

    @property
    def mss(self) -> int:
        """Bytes of a full packet; the quantum is never below two."""
        return self._mss

    @mss.setter
    def mss(self, mss: int) -> None:
        self._mss = mss
        self._size_quantum()

    @property
    def rate(self) -> float:
        """Bytes per second; math.inf when nothing is held back."""
        return self._rate

    @property
    def quantum(self) -> int:
        """Bytes that may go out at once after idleness."""
        return int(self._quantum) if self._rate != math.inf else UNLIMITED

    def set_rate(self, rate: float) -> None:
        """Take a new rate in bytes per second (above zero); cheap enough for every ACK."""
        if rate != self._rate:
            self._rate = rate
            self._size_quantum()

    def _size_quantum(self) -> None:
        floor = MIN_QUANTUM_PACKETS * self._mss
        interval = self._rate * QUANTUM_INTERVAL
        self._quantum = float(interval if floor < interval < math.inf else floor)
        self._half = self._quantum / 2

    def budget(self, now: float) -> int:
        """Bytes that may go out now: at least half a quantum, or 0."""
        if self._rate == math.inf:
            return UNLIMITED
        self._fill(now)
        tokens = self._tokens
        # A byte of slack, so that rounding cannot make a wake-up at next_send_at come too early.
        return int(tokens) + 1 if tokens + 1 >= self._half else 0

    def sent(self, size: int, now: float) -> None:
        """`size` bytes went out; more than the budget (a probe, say) is paid back by waiting."""
        if self._rate == math.inf:
            self._filled_at = now
            self._tokens = self._quantum
            return
        self._fill(now)
        self._tokens -= size

    def next_send_at(self, size: int | None = None) -> float | None:
        """When to try again, for a sender that pacing holds back; None when it does not.

        Ask only with something to send: the answer is a promise, and whoever is woken late is
        given what the delay cost. `size` is what is left to send, when that is known.
        """
        target = self._quantum
        if size is not None and size < target:
            target = size if size > self._half else self._half
        missing = target - self._tokens
        if self._rate == math.inf or missing <= 0:
            return None
        self._due_at = self._filled_at + missing / self._rate
        return self._due_at

    def _fill(self, now: float) -> None:
        elapsed = now - self._filled_at
        if elapsed <= 0:
            return
        self._filled_at = now
        ceiling = self._quantum
        due_at = self._due_at
        if due_at is not None and now >= due_at:
            self._due_at = None
            ceiling += min(now - due_at, MAX_LATENESS) * self._rate
        tokens = self._tokens + elapsed * self._rate
        if tokens > ceiling:
            # What was earned by being late stays until it is spent, never what idling adds.
            tokens = ceiling if ceiling > self._tokens else self._tokens
        self._tokens = tokens
