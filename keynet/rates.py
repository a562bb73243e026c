"""How often somebody may do something: a token bucket for each key, so many keys at most. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_KEYS = 4096
"""Keys whose rate is remembered: about 200 bytes each."""


class Rates(Generic[K]):
    """Buckets of tokens, one for each key, full at first.

    When there are too many keys, the one that was used longest ago is forgotten, and would then
    find a full bucket again: no more than a new key gets.
    """

    def __init__(self, rate: float, burst: float, *, most: int = MAX_KEYS) -> None:
        """`rate` is tokens a second; `burst` is how many a rested key may take at once."""
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: K, now: float, amount: float = 1.0) -> float:
        """Take `amount` tokens: 0.0 when they were there, else the seconds until they will be."""
        tokens, before = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - before) * self._rate)
        short = tokens < amount
        self._buckets[key] = (tokens if short else tokens - amount, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return (amount - tokens) / self._rate if short else 0.0
