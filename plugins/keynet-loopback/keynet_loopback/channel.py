"""Segments numbered, acknowledged, repeated, and delivered in order: go-back-N, window fixed.

A packet is `number, acknowledged, segment`; one without a segment only acknowledges. There is no
congestion control here: that is what makes this a transport for loopback only.
"""

from __future__ import annotations

import struct
from collections import deque

HEADER = struct.Struct(">QQ")
WINDOW = 64
WINDOW_BYTES = 131072
QUEUE_BYTES = 262144
FIRST_TIMEOUT, LONGEST_TIMEOUT = 0.2, 2.0


class Channel:
    """Both directions of a connection's one ordered sequence of segments."""

    def __init__(self) -> None:
        self.acked = 0
        """How many of our segments the peer has."""
        self.ack_due = False
        self.resend_at: float | None = None
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._in_flight = 0
        self._expected = 0
        self._held: dict[int, bytes] = {}
        self._timeout = FIRST_TIMEOUT

    def __len__(self) -> int:
        """How many of our segments the peer does not have yet."""
        return len(self._queue)

    @property
    def room(self) -> int:
        """Bytes that may be pushed."""
        return QUEUE_BYTES - self._queued

    def push(self, segment: bytes) -> int:
        """Queue a segment; it has arrived once `acked` is above the number returned."""
        self._queue.append(segment)
        self._queued += len(segment)
        return self.acked + len(self._queue) - 1

    def receive(self, packet: bytes, now: float) -> list[bytes]:
        """Take a packet; the segments that are now next in order."""
        number, acknowledged = HEADER.unpack(packet[: HEADER.size].ljust(HEADER.size, b"\0"))
        segment = packet[HEADER.size :]
        self._acknowledge(acknowledged, now)
        if segment:
            self.ack_due = True
            if self._expected <= number < self._expected + WINDOW:
                self._held[number] = segment
        ready = []
        while self._expected in self._held:
            ready.append(self._held.pop(self._expected))
            self._expected += 1
        return ready

    def packets(self, now: float) -> list[bytes]:
        """What may be sent now."""
        out, size = [], sum(len(self._queue[i]) for i in range(self._in_flight))
        while self._in_flight < min(len(self._queue), WINDOW) and (not size or size < WINDOW_BYTES):
            segment = self._queue[self._in_flight]
            out.append(HEADER.pack(self.acked + self._in_flight, self._expected) + segment)
            self._in_flight += 1
            size += len(segment)
        if out and self.resend_at is None:
            self.resend_at = now + self._timeout
        if self.ack_due and not out:
            out.append(HEADER.pack(0, self._expected))
        self.ack_due = False
        return out

    def go_back(self, *, timeout: float | None = None) -> None:
        """Send everything unacknowledged again."""
        self._in_flight, self.resend_at = 0, None
        self._timeout = timeout or min(self._timeout * 2, LONGEST_TIMEOUT)

    def _acknowledge(self, acknowledged: int, now: float) -> None:
        news = acknowledged - self.acked
        if not 0 < news <= len(self._queue):
            return
        for _ in range(news):
            self._queued -= len(self._queue.popleft())
        self.acked = acknowledged
        self._in_flight = max(0, self._in_flight - news)
        self._timeout = FIRST_TIMEOUT
        self.resend_at = now + FIRST_TIMEOUT if self._in_flight else None
