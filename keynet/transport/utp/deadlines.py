"""The earliest deadline of many streams, without looking at all of them each time."""

from __future__ import annotations

import heapq

from keynet.transport.utp.stream import UtpStream


class Deadlines:
    """A heap with lazy removal: a stream whose deadline moved back is looked at once too often."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, UtpStream]] = []
        self._count = 0

    def arm(self, stream: UtpStream) -> None:
        """Note the stream's present deadline, unless an earlier look at it is due anyway."""
        at = stream.utp.next_deadline()
        if at is not None and at < stream.armed_at:
            stream.armed_at = at
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, stream))

    def next(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[UtpStream]:
        """Take the streams whose deadline has come; arm them again when they were handled."""
        streams = []
        while self._heap and self._heap[0][0] <= now:
            at, _, stream = heapq.heappop(self._heap)
            if at == stream.armed_at:
                stream.armed_at = float("inf")
                streams.append(stream)
        return streams

    def drop(self, stream: UtpStream, live: int) -> None:
        """Forget a stream that is over; `live` streams are left."""
        stream.armed_at = float("inf")
        self.compact(live)

    def compact(self, live: int) -> None:
        """Drop entries that an earlier one has overtaken, when they are most of the heap."""
        if len(self._heap) > 4 * live + 64:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_at]
            heapq.heapify(self._heap)
