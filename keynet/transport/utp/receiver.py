"""The receiving half of one uTP connection: order, the advertised window, what to acknowledge.

No timers and no packets are made here: the connection asks what to say.
"""

from __future__ import annotations

import math
from collections import deque

from keynet.transport.utp.packet import Packet, payload_of, runs, unwrap
from keynet.transport.utp.reassembly import Reassembly
from keynet.udp.budget import ReceiveBudget

SLACK = 65536
"""Bytes taken beyond what was promised: a zero-window probe and a packet that grew."""
SMALL = 512
"""Pieces below this are joined while they wait: an object for each byte would be forty."""
ACTIVE_BYTES = 65536
"""A stream that receives this much within ACTIVE_INTERVAL takes a share of the budget."""
ACTIVE_INTERVAL = 1.0


class Receiver:
    """Ordered bytes wait here for the application; what waits shrinks the window."""

    __slots__ = (
        "_advertised",
        "_fin_seq",
        "_last_data_at",
        "_order",
        "_promised",
        "_queue",
        "_recent",
        "_total",
        "active",
        "budget",
        "dropped",
        "eof",
        "unread",
    )

    def __init__(self, next_seq: int, budget: ReceiveBudget) -> None:
        self._order = Reassembly(next_seq)
        self.budget = budget
        self._queue: deque[bytes] = deque()
        self.unread = 0
        """Bytes in order that the application has not taken."""
        self.eof = False
        """The peer's FIN and all before it have arrived."""
        self.active = False
        self.dropped = 0
        """Packets refused: beyond the window or the reach, or twice."""
        self._fin_seq: int | None = None
        self._total = 0
        self._promised = budget.share
        self._advertised = budget.share
        self._recent = 0
        self._last_data_at = 0.0

    @property
    def ack_nr(self) -> int:
        return self._order.next_seq - 1

    @property
    def sack(self) -> int:
        return self._order.sack

    @property
    def next_seq(self) -> int:
        return self._order.next_seq

    def receive_batch(self, view: memoryview, stride: int, now: float) -> None:
        """Take DATA packets of one connection, back to back."""
        for index, count, seq_nr in runs(view, stride):
            seq = unwrap(seq_nr, self._order.next_seq)
            if seq == self._order.next_seq and self._fits(count * stride):
                self._deliver(payload_of(view, stride, index, count), count)
            else:
                for at in range(count):
                    self._receive_one(seq + at, payload_of(view, stride, index + at, 1))
        self._note_activity(len(view), now)

    def receive(self, packet: Packet, *, fin: bool, now: float) -> None:
        """Take one DATA or FIN packet."""
        seq = unwrap(packet.seq_nr, self._order.next_seq)
        if fin and self._order.next_seq <= seq and (self._fin_seq is None or seq < self._fin_seq):
            self._fin_seq = seq
            self._order.cut(seq)
        self._receive_one(seq, bytes(packet.payload))
        self._note_activity(len(packet.payload), now)

    def _fits(self, size: int) -> bool:
        return self._total + self._order.early_bytes + size <= self._promised + SLACK and (
            self._fin_seq is None
        )

    def _receive_one(self, seq: int, payload: bytes) -> None:
        if self._fin_seq is not None and seq > self._fin_seq:
            self.dropped += 1
        elif seq == self._order.next_seq:
            if self._total + len(payload) <= self._promised + SLACK:
                self._deliver(payload, 1)
            else:
                self.dropped += 1
        else:
            limit = self._promised + SLACK - self._total
            self.dropped += not self._order.keep(seq, payload, limit)

    def _deliver(self, payload: bytes, count: int) -> None:
        self._order.advance(count)
        self._append(payload)
        if self._order.holds or self._fin_seq is not None:
            for early in self._order.take_ready():
                self._append(early)
        if self._fin_seq is not None and self._order.next_seq > self._fin_seq:
            self.eof = True

    def _append(self, payload: bytes) -> None:
        size = len(payload)
        if not size:
            return
        if size < SMALL and self._queue and len(self._queue[-1]) < SMALL:
            self._queue[-1] += payload
        else:
            self._queue.append(payload)
        self._total += size
        self.unread += size

    def take(self) -> bytes | None:
        """The next piece of ordered bytes; None when nothing waits."""
        if not self._queue:
            return None
        piece = self._queue.popleft()
        self.unread -= len(piece)
        return piece

    # The window

    def advertise(self) -> int:
        """The window to put into a packet now, in bytes; it is a promise."""
        window = max(0, self.budget.share - self.unread - self._order.early_bytes)
        self._promised = max(self._promised, self._total + self._order.early_bytes + window)
        self._advertised = window
        return window

    @property
    def update_is_due(self) -> bool:
        """The application read so much that the peer should hear of it without waiting."""
        share = self.budget.share
        window = share - self.unread - self._order.early_bytes
        return window - self._advertised >= share // 4 or (
            self._advertised < 4096 <= min(window, share)
        )

    def _note_activity(self, size: int, now: float) -> None:
        if now - self._last_data_at > ACTIVE_INTERVAL:
            self._recent = 0
        self._last_data_at = now
        self._recent += size
        if not self.active and self._recent > ACTIVE_BYTES:
            self.active = True
            self.budget.join(self)

    def idle_deadline(self) -> float:
        """When to call `check_idle`: inf unless the stream holds a share of the budget."""
        return self._last_data_at + ACTIVE_INTERVAL if self.active else math.inf

    def check_idle(self, now: float) -> None:
        if now >= self.idle_deadline():
            self.retire()

    def retire(self) -> None:
        """Give the share of the budget back; idempotent."""
        self.active = False
        self._recent = 0
        self.budget.leave(self)
