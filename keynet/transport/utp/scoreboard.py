"""The sending half's memory: what is in flight, what was acknowledged, what is lost.

The unit is the batch: its wire image is the retransmit buffer, an int says which of its packets
were acknowledged. A flight is one sending of some packets of a batch. There is no object per
packet, and no cost that grows with the window. Loss is found by time (RFC 8985), because
acknowledgements come in batches too and three duplicates mean nothing then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from keynet.transport.utp.packet import HEADER_SIZE


class Batch:
    """Consecutive packets of `stride` bytes, the last of which may be shorter."""

    __slots__ = (
        "acked",
        "count",
        "first",
        "flights",
        "full",
        "image",
        "lost",
        "queued",
        "size",
        "stride",
    )

    def __init__(self, first: int, image: bytearray, stride: int) -> None:
        self.first = first
        self.image = image
        self.size = len(image)
        self.stride = stride
        self.count = -(-len(image) // stride)
        self.full = (1 << self.count) - 1
        self.acked = 0
        self.lost = 0
        """Packets declared lost and not sent again yet."""
        self.queued = False
        self.flights: list[Flight] = []

    def bytes_of(self, mask: int) -> int:
        """The size on the wire of the packets in `mask`."""
        if mask == self.full:
            return self.size
        size = mask.bit_count() * self.stride
        if mask >> (self.count - 1):
            size -= self.count * self.stride - self.size
        return size

    def payloads(self, mask: int) -> Iterator[tuple[int, bytes]]:
        """The packets in `mask` without their headers, each with its sequence number."""
        with memoryview(self.image) as image:
            while mask:
                index = (mask & -mask).bit_length() - 1
                mask &= mask - 1
                start = index * self.stride
                yield self.first + index, bytes(image[start + HEADER_SIZE : start + self.stride])

    def release(self) -> None:
        """All is acknowledged: let go of the bytes, and of the cycle with the flights."""
        self.image = bytearray()
        self.flights = []


class Flight:
    """One sending of the packets in `mask`, with what a delivery-rate sample needs later."""

    __slots__ = (
        "app_limited",
        "batch",
        "delivered",
        "delivered_at",
        "first_sent_at",
        "lost_before",
        "mask",
        "order",
        "resent",
        "sent_at",
        "tx_in_flight",
    )

    batch: Batch
    mask: int
    """Packets still unanswered: neither acknowledged nor declared lost."""
    order: int
    sent_at: float
    resent: bool
    delivered: int
    delivered_at: float
    first_sent_at: float
    tx_in_flight: int
    lost_before: int
    app_limited: bool


@dataclass(slots=True)
class News:
    """What one acknowledgement changed."""

    acked: int = 0
    """Bytes acknowledged for the first time."""
    newest: Flight | None = None
    """The latest sent of the flights that were hit: the rate sample is its."""
    spurious: bool = False
    """Something declared lost had arrived after all."""


class Scoreboard:
    """All batches between the lowest unacknowledged packet and the next to be sent."""

    def __init__(self, first_seq: int) -> None:
        self.una = first_seq
        """The lowest sequence number not acknowledged."""
        self.next_seq = first_seq
        self.in_flight = 0
        """Bytes sent and neither acknowledged nor declared lost."""
        self.waiting = 0
        """Bytes declared lost and not sent again yet."""
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0
        self.lost_total = 0
        self.app_limited_until = 0
        """Samples are application-limited until this much is delivered; 0: they are not."""
        self.loss_at: float | None = None
        """When the oldest flight will be taken for lost, if nothing is heard of it."""
        self._sacked = 0  # bit i: una + i was acknowledged selectively
        self._batches: list[Batch] = []
        self._starts: list[int] = []
        self._head = 0
        self._flights: deque[Flight] = deque()
        self._lost: deque[Batch] = deque()
        self._order = 0
        self._rack_order = -1
        self._rack_high = 0
        self._rack_rtt = 0.0
        self._least_rtt = 0.0

    # Sending

    def add(self, batch: Batch) -> None:
        """Remember a batch that is about to be sent for the first time."""
        self._batches.append(batch)
        self._starts.append(batch.first)
        self.next_seq = batch.first + batch.count

    def sent(self, batch: Batch, mask: int, now: float, *, resent: bool = False) -> Flight:
        """Record one sending of `mask`'s packets (draft-ietf-ccwg-bbr section 4.1.2.2)."""
        if not self.in_flight:
            self.first_sent_at = self.delivered_at = now
        size = batch.bytes_of(mask)
        self.in_flight += size
        self._order += 1
        flight = Flight()
        flight.batch, flight.mask, flight.order, flight.sent_at = batch, mask, self._order, now
        flight.resent = resent
        flight.delivered, flight.delivered_at = self.delivered, self.delivered_at
        flight.first_sent_at, flight.lost_before = self.first_sent_at, self.lost_total
        flight.tx_in_flight = self.in_flight
        flight.app_limited = self.app_limited_until > 0
        batch.flights.append(flight)
        self._flights.append(flight)
        return flight

    def take_lost(self, max_packets: int) -> tuple[Batch, int] | None:
        """Some lost packets of one batch, oldest first, to be sent again now."""
        while self._lost:
            batch = self._lost[0]
            if not batch.lost:
                batch.queued = False
                self._lost.popleft()
                continue
            mask = batch.lost
            while mask.bit_count() > max_packets:
                mask &= ~(1 << (mask.bit_length() - 1))
            batch.lost &= ~mask
            self.waiting -= batch.bytes_of(mask)
            return batch, mask
        return None

    def take_last(self) -> tuple[Batch, int] | None:
        """The highest packet that is unanswered, for a tail-loss probe; its old flight ends."""
        for index in range(len(self._batches) - 1, self._head - 1, -1):
            batch = self._batches[index]
            rest = batch.full & ~batch.acked & ~batch.lost
            if rest:
                last = 1 << (rest.bit_length() - 1)
                for flight in batch.flights:
                    if flight.mask & last:
                        flight.mask &= ~last
                        self.in_flight -= batch.bytes_of(last)
                return batch, last
        return None

    @property
    def sacked_count(self) -> int:
        """Packets that have arrived beyond a missing one."""
        return self._sacked.bit_count()

    @property
    def has_lost(self) -> bool:
        return self.waiting > 0

    @property
    def oldest_stride(self) -> int:
        """The packet size of the batch that waits longest; 0 when nothing is outstanding."""
        return self._batches[self._head].stride if self._head < len(self._batches) else 0

    # Acknowledgements

    def acknowledge(self, ack: int, sack: int, now: float, least_rtt: float = 0.0) -> News:
        """Take one acknowledgement; `una - 1 <= ack < next_seq` is the caller's to check.

        What answers a retransmission sooner than `least_rtt` answers the original.
        """
        news = News()
        self._least_rtt = least_rtt
        advance = ack + 1 - self.una
        told = ((1 << advance) - 1) | (sack << (advance + 1))
        told &= (1 << (self.next_seq - self.una)) - 1
        fresh = told & ~self._sacked
        while fresh:
            lowest = (fresh & -fresh).bit_length() - 1
            batch = self._batches[bisect_right(self._starts, self.una + lowest, self._head) - 1]
            shift = batch.first - self.una
            bits = (fresh >> shift if shift >= 0 else fresh << -shift) & batch.full
            fresh &= ~(bits << shift if shift >= 0 else bits >> -shift)
            self._mark_acked(batch, bits, news, now)
        self._sacked = (self._sacked | told) >> advance
        self.una += advance
        if advance:
            self._forget_acked()
        if news.acked:
            self.delivered += news.acked
            self.delivered_at = now
            if self.delivered > self.app_limited_until:
                self.app_limited_until = 0
        return news

    def _mark_acked(self, batch: Batch, bits: int, news: News, now: float) -> None:
        batch.acked |= bits
        news.acked += batch.bytes_of(bits)
        late = batch.lost & bits
        if late:
            batch.lost &= ~late
            self.waiting -= batch.bytes_of(late)
            news.spurious = True
        for flight in batch.flights:
            hit = flight.mask & bits
            if hit:
                flight.mask ^= hit
                self.in_flight -= batch.bytes_of(hit)
                self._note_newest(flight, hit, news, now)

    def _note_newest(self, flight: Flight, hit: int, news: News, now: float) -> None:
        if news.newest is None or flight.order > news.newest.order:
            news.newest = flight
        if flight.resent and now - flight.sent_at < self._least_rtt:
            news.spurious = True
        elif flight.order > self._rack_order:
            self._rack_order, self._rack_high = flight.order, hit.bit_length()
            self._rack_rtt = now - flight.sent_at
        elif flight.order == self._rack_order:
            self._rack_high = max(self._rack_high, hit.bit_length())

    def _forget_acked(self) -> None:
        batches, head = self._batches, self._head
        while head < len(batches) and batches[head].first + batches[head].count <= self.una:
            batches[head].release()
            head += 1
        if head > 64:
            del batches[:head], self._starts[:head]
            head = 0
        self._head = head

    # Loss

    def detect_losses(self, now: float, reordering: float) -> list[tuple[Flight, int]]:
        """Declare lost what was sent before something that has arrived (RFC 8985 section 6.2).

        `reordering` is the window in seconds that a late packet is given. Sets `loss_at`.
        """
        losses: list[tuple[Flight, int]] = []
        self.loss_at = None
        flights = self._flights
        while flights:
            flight = flights[0]
            if not flight.mask:
                flights.popleft()
                continue
            if flight.order > self._rack_order:
                break
            mask = flight.mask
            if flight.order == self._rack_order:
                mask &= (1 << self._rack_high) - 1
                if not mask:
                    break
            due = flight.sent_at + self._rack_rtt + reordering
            if due > now:
                self.loss_at = due
                break
            losses.append((flight, mask))
            self._mark_lost(flight, mask)
        return losses

    def lose_all(self) -> list[tuple[Flight, int]]:
        """Nothing was heard for a whole time-out: everything in flight counts as lost.

        The lowest packet must be the first to be sent again: a peer whose selective
        acknowledgements reach less far than ours (libutp's: 32 packets) may hold any of the others,
        and says nothing to a duplicate.
        """
        losses = [(flight, flight.mask) for flight in self._flights if flight.mask]
        for flight, mask in losses:
            self._mark_lost(flight, mask)
        self._lost = deque(sorted(self._lost, key=lambda batch: batch.first))
        self._flights.clear()
        self.loss_at = None
        return losses

    def _mark_lost(self, flight: Flight, mask: int) -> None:
        batch = flight.batch
        size = batch.bytes_of(mask)
        flight.mask &= ~mask
        batch.lost |= mask
        self.in_flight -= size
        self.waiting += size
        self.lost_total += size
        if not batch.queued:
            batch.queued = True
            self._lost.append(batch)
        if not flight.mask:
            batch.flights.remove(flight)
