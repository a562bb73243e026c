"""What the streams of a stress run do, drawn from a seed, and both ends of doing it.

Bytes are slices of one random pool, so that either end knows what the other sends; each piece is
compared where it belongs as it arrives. No sockets are made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from keynet.errors import ClosedByPeer, ClosedError, LocallyClosed
from keynet.transport.connection import Connection
from keynet.transport.stream import Stream

POOL = random.Random(0).randbytes(8 << 20)
NUMBER_SIZE = 4
READY = b"!"
"""The acceptor has read the number: no reset can keep it from knowing which stream this is."""


class Order(enum.Enum):
    """Who speaks first; the other's bytes and end come after the first's end, but for TOGETHER."""

    TOGETHER = "together"
    OPENER = "opener"
    ACCEPTOR = "acceptor"


@dataclass(frozen=True, slots=True)
class Half:
    """What one end sends, and where it breaks off."""

    start: int
    """Where in POOL its bytes begin."""
    size: int
    reset_at: int | None
    """Bytes sent and received after which it resets the stream; None: never."""

    @property
    def data(self) -> memoryview:
        return memoryview(POOL)[self.start : self.start + self.size]


@dataclass(frozen=True, slots=True)
class Plan:
    """One stream."""

    number: int
    order: Order
    opener: Half
    acceptor: Half

    @property
    def broken(self) -> bool:
        """One of its ends resets it."""
        return self.opener.reset_at is not None or self.acceptor.reset_at is not None


def draw(rng: random.Random, count: int, largest: int) -> list[Plan]:
    """`count` streams; a third of them is reset by one end. Sizes from none to `largest`."""

    def half(resets: bool) -> Half:
        size = int(largest ** rng.random()) - 1 if rng.random() < 0.5 else rng.randrange(largest)
        reset_at = rng.randrange(largest) if resets else None
        return Half(rng.randrange(len(POOL) - largest), size, reset_at)

    plans = []
    for number in range(count):
        who = rng.randrange(6)
        plans.append(Plan(number, rng.choice(list(Order)), half(who == 0), half(who == 1)))
    return plans


async def open_one(connection: Connection, plan: Plan) -> int:
    """Open a stream and play the opener's part; returns the bytes that arrived."""
    stream = await connection.open_stream()
    stream.write(plan.number.to_bytes(NUMBER_SIZE))
    try:
        answer = await stream.read()
    except ClosedByPeer:
        if plan.acceptor.reset_at is None:
            raise
        return 0  # the reset overtook all that was said before it
    assert answer.startswith(READY), answer[:10]
    end = _End(stream, plan.opener, plan.acceptor, plan.broken)
    return await end.play(plan.order is Order.ACCEPTOR, answer[len(READY) :])


async def accept_all(connection: Connection, plans: Sequence[Plan]) -> int:
    """Play the acceptor's part of as many streams as there are plans."""

    async def one(stream: Stream) -> int:
        head = b""
        while len(head) < NUMBER_SIZE and (piece := await stream.read()):
            head += piece
        plan = plans[int.from_bytes(head[:NUMBER_SIZE])]
        stream.write(READY)
        end = _End(stream, plan.acceptor, plan.opener, plan.broken)
        return await end.play(plan.order is Order.OPENER, head[NUMBER_SIZE:])

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[int]] = []
        while len(tasks) < len(plans):
            tasks.append(group.create_task(one(await connection.accept_stream())))
    return sum(task.result() for task in tasks)


class _End:
    """One end of one stream."""

    def __init__(self, stream: Stream, mine: Half, theirs: Half, broken: bool) -> None:
        self._stream = stream
        self._mine = mine
        self._theirs = theirs
        self._broken = broken
        self._ended = asyncio.Event()
        self._moved = 0
        self._received = 0

    async def play(self, waits: bool, early: bytes) -> int:
        """Send and receive; `waits`: not before the peer's end. Returns the bytes received."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(waits))
                group.create_task(self._receive(early))
        except* ClosedError:
            self._stream.reset()
        await self._stream.wait_closed()
        error = self._stream.error
        if error is not None:
            expected = LocallyClosed if self._mine.reset_at is not None else ClosedByPeer
            assert self._broken, f"nobody was to break it: {error!r}"
            assert isinstance(error, (expected, ClosedByPeer)), repr(error)
        return self._received

    async def _send(self, waits: bool) -> None:
        if waits:
            await self._ended.wait()
        data, at = self._mine.data, 0
        while at < len(data):
            size = 1 + (self._mine.start + at) % 100_000
            self._stream.write(data[at : at + size])
            await self._stream.drain()
            self._count(min(size, len(data) - at))
            at += size
        self._stream.write_eof()

    async def _receive(self, early: bytes) -> None:
        expected, digest = self._theirs.data, sha256()
        with contextlib.ExitStack() as stack:
            stack.callback(self._ended.set)
            piece = early or await self._stream.read()
            while piece:
                at = self._received
                assert expected[at : at + len(piece)] == piece, f"other bytes than sent at {at}"
                digest.update(piece)
                self._received += len(piece)
                self._count(len(piece))
                piece = await self._stream.read()
        assert digest.digest() == sha256(expected).digest(), f"cut off at {self._received}"

    def _count(self, size: int) -> None:
        """Bytes that have moved either way; break off where the plan says so."""
        self._moved += size
        if self._mine.reset_at is not None and self._moved > self._mine.reset_at:
            self._stream.reset()
