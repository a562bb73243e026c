"""One direction of a slow wire, sans-IO: frames and the time in, frames out when they are due."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from random import Random

MOST_FRAMES = 20_000
"""What a line without a rate holds at most."""


@dataclass(frozen=True, slots=True)
class Link:
    """How an access link is, the same in both directions. The default is a plain cable."""

    delay: float = 0.0
    """Seconds that every packet takes, one way."""
    jitter: float = 0.0
    """Seconds at most on top, evenly spread; packets then overtake each other."""
    rate: float = 0.0
    """Bytes a second; 0 is as fast as it goes."""
    buffer: int = 256 * 1024
    """Bytes that wait at most for their turn on a link with a rate; the rest is dropped."""

    @property
    def is_plain(self) -> bool:
        return not (self.delay or self.jitter or self.rate)


class Line:
    """Holds what is under way. Bounded by the link's buffer and MOST_FRAMES."""

    def __init__(self, link: Link, random: Random) -> None:
        self._link = link
        self._random = random
        self._free_at = 0.0
        self._pushed = 0
        self._under_way: list[tuple[float, int, bytes]] = []
        self.dropped = 0
        """Frames that found the buffer full."""

    def push(self, frame: bytes, now: float) -> None:
        """Take a frame at its sender's end, or drop it where the buffer is full."""
        link = self._link
        sent_at = now
        if link.rate:
            begin = max(now, self._free_at)
            if (begin - now) * link.rate + len(frame) > link.buffer:
                self.dropped += 1
                return
            self._free_at = sent_at = begin + len(frame) / link.rate
        if len(self._under_way) >= MOST_FRAMES:
            self.dropped += 1
            return
        due_at = sent_at + link.delay + (self._random.random() * link.jitter if link.jitter else 0)
        self._pushed += 1
        heapq.heappush(self._under_way, (due_at, self._pushed, frame))

    def pop(self, now: float) -> list[bytes]:
        """What has arrived by now, in the order of its arrival."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now:
            arrived.append(heapq.heappop(self._under_way)[2])
        return arrived

    def deadline(self) -> float | None:
        """When the next frame arrives."""
        return self._under_way[0][0] if self._under_way else None
