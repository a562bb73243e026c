"""What every sans-IO engine speaks: batches of datagrams in and out, deadlines, events.

An engine holds no socket, task, clock or randomness that was not passed in. `now` is monotonic
time in seconds. Remote bytes never raise out of an engine. After termination its outputs are
empty; closing twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

Buffer = bytes | bytearray | memoryview


class Datagrams:
    """A batch: one or more datagrams back to back in one buffer, the unit of the data path.

    Every datagram is `stride` bytes long but the last, which may be shorter. This is exactly what
    UDP_SEGMENT sends and UDP_GRO receives. A receiver must copy what it keeps: the buffer is
    reused after the call that handed it over returns.
    """

    __slots__ = ("data", "may_fragment", "stride")

    def __init__(self, data: Buffer, stride: int = 0, *, may_fragment: bool = False) -> None:
        self.data = data
        self.stride = stride or len(data)
        self.may_fragment = may_fragment
        """Sent with don't-fragment clear: this batch is bigger than the path is known to take."""

    def __len__(self) -> int:
        """The number of datagrams."""
        return -(-len(self.data) // self.stride) if self.stride else 0

    def __iter__(self) -> Iterator[memoryview]:
        view = memoryview(self.data)
        for start in range(0, len(view), self.stride or 1):
            yield view[start : start + self.stride]

    def __repr__(self) -> str:
        return f"Datagrams({len(self)} x {self.stride}, {len(self.data)} bytes)"


EventT_co = TypeVar("EventT_co", covariant=True)


class Engine(Protocol, Generic[EventT_co]):
    """The verbs of every engine. The shell's rhythm: input, events, transmit, re-arm one timer."""

    def receive(self, datagrams: Datagrams, now: float) -> None:
        """Take a batch that arrived. Never raises for what the bytes are."""

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """What may go out now, bounded; call again until it is empty, or later."""

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`; None when nothing waits for time."""

    def handle_deadline(self, now: float) -> None:
        """Tell the engine the time; harmless when nothing is due."""

    def next_event(self) -> EventT_co | None:
        """The oldest event not yet taken, or None."""
