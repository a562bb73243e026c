"""Serving peers' streams: bounds, failures, cancellation. Fake connections, no network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.errors import ConnectionLost as Lost
from keynet.errors import KeynetError
from keynet.node.events import ConnectionLost, NodeEvent, StreamRefused, StreamServed
from keynet.node.serving import Serving
from keynet.rpc.proxy.reverse import Outcome

PEER = NodeId(bytes(32))


class FakeStream:
    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


class FakeConnection:
    """A connection whose peer opens streams when the test says so."""

    def __init__(self) -> None:
        self.peer = SimpleNamespace(node_id=PEER)
        self.transport = "fake"
        self.remote = SocketAddress("127.0.0.1", 1)
        self.dialed = False
        self.opened_at = self.established_at = 0.0
        self._streams: asyncio.Queue[FakeStream | KeynetError] = asyncio.Queue()

    def opens(self) -> FakeStream:
        stream = FakeStream()
        self._streams.put_nowait(stream)
        return stream

    def ends(self, error: KeynetError) -> None:
        self._streams.put_nowait(error)

    async def accept_stream(self) -> FakeStream:
        item = await self._streams.get()
        if isinstance(item, KeynetError):
            raise item
        return item


Serve = Callable[[Any, Outcome], Awaitable[None]]


def serving(serve: Serve, events: list[NodeEvent], **limits: int) -> Serving:
    return Serving(serve, events.append, **limits)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_streams_beyond_the_bounds_are_reset() -> None:
    async def forever(stream: Any, outcome: Outcome) -> None:
        await asyncio.Event().wait()

    events: list[NodeEvent] = []
    served = serving(forever, events, max_streams=3, max_streams_per_peer=2)
    one, two = FakeConnection(), FakeConnection()
    served.adopt(one)  # type: ignore[arg-type]
    served.adopt(one)  # type: ignore[arg-type]
    served.adopt(two)  # type: ignore[arg-type]
    first = [one.opens() for _ in range(3)]
    await settle()
    second = [two.opens() for _ in range(2)]
    await settle()
    assert [s.resets for s in first] == [0, 0, 1]
    assert [s.resets for s in second] == [0, 1]
    assert served.streams == 3
    assert events.count(StreamRefused(PEER, None, None, "too many streams at a time")) == 2
    await served.aclose()
    await served.aclose()
    assert served.streams == 0
    assert all(s.resets == 1 for s in first + second), "cancelled streams are reset"


async def test_a_place_is_free_again_when_a_stream_ends() -> None:
    ended: list[Any] = []

    async def quick(stream: Any, outcome: Outcome) -> None:
        outcome.status, outcome.service, outcome.traffic.to_peer = 200, 7, 9
        ended.append(stream)

    events: list[NodeEvent] = []
    served = serving(quick, events, max_streams=1, max_streams_per_peer=1)
    connection = FakeConnection()
    served.adopt(connection)  # type: ignore[arg-type]
    for _ in range(3):
        connection.opens()
        await settle()
    assert len(ended) == 3
    told = [event for event in events if isinstance(event, StreamServed)]
    assert [(one.service, one.bytes_to_peer) for one in told] == [(7, 9)] * 3
    await served.aclose()


async def test_a_stream_that_fails_harms_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(stream: Any, outcome: Outcome) -> None:
        raise ZeroDivisionError

    events: list[NodeEvent] = []
    served = serving(fails, events)
    connection = FakeConnection()
    served.adopt(connection)  # type: ignore[arg-type]
    stream = connection.opens()
    await settle()
    assert stream.resets == 1
    assert "ZeroDivisionError" in caplog.text
    connection.ends(Lost("gone"))
    await settle()
    assert events[-1] == ConnectionLost(PEER, "gone")
    assert served._connections == served._streams == {}
    await served.aclose()
