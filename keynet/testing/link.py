"""A simulated one-way pipe: what a path does to datagrams. Pure: no asyncio, no clock of its own.

`LinkModel` says how a path behaves, `Pipe` is one direction of it. FakeNet and EnginePair are
built on both; nothing here knows addresses or engines.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keynet.engine import Datagrams

TIME_SLACK = 1e-9
"""Seconds by which sums of floats may miss the time that they mean."""

GRO_BYTES = 65535
GRO_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class LinkModel:
    """How one direction of a path treats datagrams. Shares are probabilities from 0 to 1."""

    latency: float = 0.01
    """Seconds from the end of sending to arrival."""
    jitter: float = 0.0
    """Up to this many seconds more, at random; the order is kept."""
    loss: float = 0.0
    """The share of IP packets that vanish; a fragmented datagram has several chances to."""
    duplication: float = 0.0
    """The share of datagrams that arrive twice."""
    reordering: float = 0.0
    """The share of datagrams that are held back, so that later ones overtake them."""
    reordering_delay: float = 0.01
    """How long those are held back, at most, in seconds."""
    corruption: float = 0.0
    """The share of datagrams in which one bit is flipped."""
    rate: float | None = None
    """Bytes of UDP payload per second through the bottleneck; None for no bottleneck."""
    queue: int = 262144
    """Bytes that wait at the bottleneck; what comes on top is dropped."""
    mtu: int = 1472
    """The largest UDP payload that passes whole. Larger ones vanish, unless they may fragment."""
    partitioned: bool = False
    """Nothing passes at all."""


class Pipe:
    """One direction of a path. The same seed and calls give the same fate to every datagram."""

    def __init__(self, model: LinkModel, rng: random.Random) -> None:
        self.model = model
        """Assign another one to change the path under way; what is in flight is not touched."""
        self.counts: Counter[str] = Counter()
        """Fates: sent, arrived, lost, too_big, queue_full, duplicated, held_back, corrupted."""
        self._rng = rng
        self._flying: list[tuple[float, int, bytes]] = []
        self._serial = 0
        self._free_at = 0.0
        self._last_arrival = 0.0

    def send(self, datagrams: Datagrams, now: float) -> None:
        """Put a batch on the path at `now`; it is copied."""
        for datagram in datagrams:
            self.counts["sent"] += 1
            if self._survives(len(datagram), datagrams.may_fragment):
                self._schedule(bytes(datagram), now)

    def next_arrival(self) -> float | None:
        """When `arrivals` will next give something."""
        return self._flying[0][0] if self._flying else None

    def arrivals(self, now: float) -> list[bytes]:
        """Every datagram that has arrived by `now`, in order of arrival."""
        arrived = []
        while self._flying and self._flying[0][0] <= now + TIME_SLACK:
            arrived.append(heapq.heappop(self._flying)[2])
        self.counts["arrived"] += len(arrived)
        return arrived

    def clear(self) -> None:
        """Lose whatever is in flight."""
        self.counts["lost"] += len(self._flying)
        self._flying.clear()

    def _survives(self, size: int, may_fragment: bool) -> bool:
        model = self.model
        if size > model.mtu and not may_fragment:
            return self._drop("too_big")
        if model.partitioned:
            return self._drop("lost")
        packets = max(1, -(-size // model.mtu))
        if model.loss and self._rng.random() >= (1.0 - model.loss) ** packets:
            return self._drop("lost")
        return True

    def _drop(self, fate: str) -> bool:
        self.counts[fate] += 1
        return False

    def _schedule(self, datagram: bytes, now: float) -> None:
        model, rng = self.model, self._rng
        leaves_at = self._leaves_at(len(datagram), now)
        if leaves_at is None:
            self.counts["queue_full"] += 1
            return
        if model.corruption and datagram and rng.random() < model.corruption:
            datagram = self._corrupted(datagram)
        arrives_at = leaves_at + model.latency + rng.random() * model.jitter
        if model.reordering and rng.random() < model.reordering:
            self.counts["held_back"] += 1
            arrives_at += rng.random() * model.reordering_delay
        else:
            self._last_arrival = arrives_at = max(arrives_at, self._last_arrival)
        self._fly(datagram, arrives_at)
        if model.duplication and rng.random() < model.duplication:
            self.counts["duplicated"] += 1
            self._fly(datagram, arrives_at + rng.random() * model.latency)

    def _leaves_at(self, size: int, now: float) -> float | None:
        """When the bottleneck has let the datagram through; None when its queue is full."""
        rate = self.model.rate
        if rate is None:
            return now
        starts_at = max(now, self._free_at)
        if (starts_at - now) * rate + size > self.model.queue:
            return None
        self._free_at = starts_at + size / rate
        return self._free_at

    def _corrupted(self, datagram: bytes) -> bytes:
        self.counts["corrupted"] += 1
        flipped = bytearray(datagram)
        flipped[self._rng.randrange(len(flipped))] ^= 1 << self._rng.randrange(8)
        return bytes(flipped)

    def _fly(self, datagram: bytes, arrives_at: float) -> None:
        self._serial += 1
        heapq.heappush(self._flying, (arrives_at, self._serial, datagram))


def merged(datagrams: Iterable[bytes]) -> Iterator[Datagrams]:
    """Join what arrived together into batches, as the kernel's GRO does.

    The buffer of each batch is overwritten as soon as the next one is asked for: a receiver that
    keeps a view instead of a copy shows itself.
    """
    run: list[bytes] = []
    for datagram in datagrams:
        if run and not _extends(run, datagram):
            yield from _batch(run)
            run = []
        run.append(datagram)
    if run:
        yield from _batch(run)


def _extends(run: list[bytes], datagram: bytes) -> bool:
    stride = len(run[0])
    return (
        0 < len(datagram) <= stride == len(run[-1])
        and len(run) < GRO_SEGMENTS
        and stride * (len(run) + 1) <= GRO_BYTES
    )


def _batch(run: list[bytes]) -> Iterator[Datagrams]:
    buffer = bytearray(b"".join(run))
    yield Datagrams(memoryview(buffer), len(run[0]))
    buffer[:] = bytes([0xA5]) * len(buffer)
