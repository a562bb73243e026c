"""Subscriptions: order, bounds, ends; and events as JSON."""

from __future__ import annotations

import asyncio
import json

from keynet.address import NodeId, SocketAddress
from keynet.node.events import (
    BACKLOG,
    ConnectionLost,
    ConnectionOpened,
    DialFailed,
    Events,
    EventsMissed,
    NodeEvent,
    Ready,
    Stopped,
    as_json,
)

NODE = NodeId(bytes(range(32)))


async def collect(events: Events) -> list[NodeEvent]:
    return [event async for event in events]


async def test_every_subscriber_gets_every_event_in_order() -> None:
    events = Events()
    tasks = [asyncio.create_task(collect(events)) for _ in range(3)]
    await asyncio.sleep(0)
    sent = [DialFailed(NODE, "a"), ConnectionLost(NODE, "b"), Stopped(None)]
    for event in sent:
        events.publish(event)
    assert await asyncio.gather(*tasks) == [sent] * 3


async def test_a_late_subscriber_sees_what_comes_after() -> None:
    events = Events()
    events.publish(DialFailed(NODE, "early"))
    subscription = events.subscribe()
    events.publish(Stopped(None))
    assert [event async for event in subscription] == [Stopped(None)]
    assert await collect(events) == []


async def test_a_slow_subscriber_loses_the_oldest_and_is_told() -> None:
    events = Events()
    subscription = events.subscribe()
    for number in range(BACKLOG + 5):
        events.publish(DialFailed(NODE, str(number)))
    assert await anext(subscription) == EventsMissed(5)
    assert await anext(subscription) == DialFailed(NODE, "5")
    subscription.close()


async def test_a_closed_subscription_ends_and_is_forgotten() -> None:
    events = Events()
    subscription = events.subscribe()
    waiting = asyncio.create_task(anext(subscription, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    assert await waiting is None
    assert events._subscriptions == []


async def test_cancelling_a_wait_loses_nothing() -> None:
    events = Events()
    subscription = events.subscribe()
    waiting = asyncio.create_task(anext(subscription))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    events.publish(DialFailed(NODE, "x"))
    await asyncio.sleep(0)
    assert await anext(subscription) == DialFailed(NODE, "x")


def test_json() -> None:
    ready = Ready(NODE, (SocketAddress("::1", 4),), "127.0.0.1:1", {22: "unix:/s"})
    assert json.loads(json.dumps(as_json(ready))) == {
        "event": "ready",
        "node_id": str(NODE),
        "udp": ["[::1]:4"],
        "proxy": "127.0.0.1:1",
        "services": {"22": "unix:/s"},
        "allow": [],
        "rpc_services": [],
        "allow_call": [],
        "seed": [],
    }
    opened = as_json(ConnectionOpened(NODE, "utp", SocketAddress("1.2.3.4", 5), True, 0.5))
    assert opened["event"] == "connection_opened"
    assert opened["remote"] == "1.2.3.4:5"
