"""The service that the checks call: one method of each kind, and a record of what became of it.

A check says what the methods do, if not the usual, by setting `act`: it runs at the beginning of
every call, whatever the kind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from keynet.errors import RpcError
from keynet.rpc.api import Call
from keynet.rpc.service import Service

Act = Callable[[Call], Awaitable[None]]


class Leaf(msgspec.Struct):
    """A structure within a structure."""

    name: str
    weight: float = 1.0
    tags: list[str] = []


@dataclass
class Point:
    """Dataclasses are carried as well."""

    x: int
    y: int


class Everything(msgspec.Struct):
    """A value of every sort that a service may speak of."""

    yes: bool
    least: int
    most: int
    ratio: float
    text: str
    data: bytes
    nothing: None
    maybe: int | None
    many: list[int]
    table: dict[str, int]
    pair: tuple[int, str]
    leaf: Leaf
    point: Point


class Unspeakable:
    """Nothing that can be encoded."""


class Received(msgspec.Struct):
    """What a client's stream amounted to."""

    count: int
    size: int
    last: str


async def forever(call: Call) -> None:
    """Hang, until somebody ends the call."""
    await asyncio.Event().wait()


class Probe:
    """One serving end's functions."""

    def __init__(self, name: str = "probe", *, public: bool = False) -> None:
        self.act: Act | None = None
        """What a call does first."""
        self.fail_after: RpcError | None = None
        """Raised by `give` and `swap` when they have sent all."""
        self.calls: list[Call] = []
        """Every call that has begun, in order."""
        self.running: Counter[str] = Counter()
        """How many calls of each method run now."""
        self.stopped: Counter[str] = Counter()
        """How many calls of each method were cancelled, or broke off, before their own end."""
        self.sent = 0
        """Items that `give` has handed over."""
        self.taken = 0
        """Items that `take` and `swap` have read."""
        self.pace: Callable[[], Awaitable[object]] = _no_pause
        """Awaited by `take` before each item."""
        self.service = Service(name, public=public)
        for function in (self.ask, self.mirror, self.give, self.take, self.swap):
            self.service.method(function)
        for wrong in (self.answer_wrongly, self.give_wrongly):
            self.service.method(wrong)

    async def ask(self, call: Call, text: str = "", *, size: int | None = None) -> str:
        """Unary: gives `text` back, or `size` characters."""
        with self._noting(call):
            await self._begin(call)
            return text if size is None else "r" * size

    async def mirror(self, value: Everything) -> Everything:
        """Unary: gives `value` back."""
        return value

    async def give(self, call: Call, count: int = 3, *, size: int = 4) -> AsyncIterator[str]:
        """Server-streaming: `count` items of `size` characters, numbered."""
        with self._noting(call):
            await self._begin(call)
            for number in range(count):
                yield numbered(number, size)
                self.sent += 1
            self._fail()

    async def take(self, call: Call, items: AsyncIterator[str], *, most: int = -1) -> Received:
        """Client-streaming: reads all items, or `most` of them."""
        received = Received(0, 0, "")
        with self._noting(call):
            await self._begin(call)
            while received.count != most:
                await self.pace()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                self.taken += 1
                received = Received(received.count + 1, received.size + len(item), item)
        return received

    async def swap(
        self, call: Call, items: AsyncIterator[str], *, most: int = -1, after: int = 0
    ) -> AsyncIterator[str]:
        """Duplex: each item in capitals, up to `most` of them, then `after` items of its own."""
        with self._noting(call):
            await self._begin(call)
            answered = 0
            while answered != most:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                self.taken += 1
                answered += 1
                yield item.upper()
            for number in range(after):
                yield numbered(number, 4)
            self._fail()

    async def answer_wrongly(self) -> Any:
        """Unary: gives what no codec knows."""
        return Unspeakable()

    async def give_wrongly(self) -> AsyncIterator[Any]:
        """Server-streaming: an item that no codec knows."""
        yield Unspeakable()

    async def _begin(self, call: Call) -> None:
        if self.act is not None:
            await self.act(call)

    def _fail(self) -> None:
        if self.fail_after is not None:
            raise self.fail_after

    @contextlib.contextmanager
    def _noting(self, call: Call) -> Iterator[None]:
        name = call.method.name
        self.calls.append(call)
        self.running[name] += 1
        try:
            yield
        except BaseException:
            self.stopped[name] += 1
            raise
        finally:
            self.running[name] -= 1


async def _no_pause() -> None:
    """The usual pace."""


def numbered(number: int, size: int) -> str:
    """An item of `size` characters that says which it is."""
    return f"{number:<{size}}"[:size] if size > 4 else f"{number:04}"


def everything() -> dict[str, Any]:
    """The params of `mirror`, with values at the edges."""
    return {
        "value": Everything(
            yes=True,
            least=-(2**53) + 1,
            most=2**53 - 1,
            ratio=0.1,
            text='a\u0000\n\r\t"\\ \u00e9 \u6f22 \U0001f511 \u2028',
            data=bytes(range(256)),
            nothing=None,
            maybe=None,
            many=list(range(100)),
            table={"": 0, "\u00e9": 1},
            pair=(1, "one"),
            leaf=Leaf("leaf", 2.5, ["a", "b"]),
            point=Point(1, -1),
        )
    }
