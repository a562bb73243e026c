"""What a running node tells its subscribers: frozen events, and the stream that hands them out.

Nothing here knows who makes the events; `keynet.node.node` does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from keynet.address import NodeId, SocketAddress

BACKLOG = 1024
"""Events kept for a subscriber that does not take them; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The node answers. Comes once, before every other event."""

    node_id: NodeId
    udp: tuple[SocketAddress, ...]
    """Where its sockets are bound, ports filled in."""
    proxy: str | None
    """`HOST:PORT` or `unix:PATH` of the forward proxy."""
    services: dict[int, str]
    """Exposed port to local target."""
    allow: tuple[str, ...] = ()
    """Who may reach them, as the setting is written: rules, or `any` alone."""
    rpc_services: tuple[str, ...] = ()
    """The names of the services that may be called; `keynet` is every node's own."""
    allow_call: tuple[str, ...] = ()
    """Who may call them, as the setting is written: rules, or `any` alone."""
    seed: tuple[str, ...] = ()
    """If it is a seed: what other nodes take for `--seed`, where its addresses are reached."""


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A peer has proved its id and a connection to it stands."""

    peer: NodeId
    transport: str
    remote: SocketAddress
    dialed: bool
    """Whether this side dialled."""
    seconds: float | None
    """From the start of the dial to the proof; None on the side that was dialled."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """A connection is gone and its streams with it."""

    peer: NodeId
    reason: str | None
    """One line for people; None when it was closed in order."""


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No connection to the peer came about."""

    peer: NodeId
    reason: str
    tried: tuple[SocketAddress, ...] = ()
    """The addresses that were dialled, in turn."""


@dataclass(frozen=True, slots=True)
class StreamServed:
    """A peer's stream to one of this node's services is over."""

    peer: NodeId
    service: int | None
    """The port; None for a built-in protocol."""
    seconds: float
    """How long it was open."""
    bytes_from_peer: int = 0
    bytes_to_peer: int = 0
    """Both of services alone; a built-in protocol's are not counted."""
    reason: str | None = None
    """What broke it off; None when both sides ended it."""
    protocol: str | None = None
    """The built-in protocol, such as `jsonrpc`; None for a service."""


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """A peer's stream led to no service."""

    peer: NodeId
    service: int | None
    """The port that it asked for; None when it named none."""
    status: int | None
    """What it was answered (403: not let in, 404: no such service, 502: the server refused);
    None when it got no answer."""
    reason: str
    protocol: str | None = None
    """The built-in protocol that it asked for."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """A peer is reached another way from now on; its streams go on."""

    peer: NodeId
    remote: SocketAddress
    """Where its datagrams go."""
    rtt: float | None
    """The measured round trip in seconds, if there is one."""


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """A connected peer misses its first pong: a loss is feared, other ways are tried."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """A peer that was silent is heard again."""

    peer: NodeId
    silence: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class SeedChanged:
    """A seed registered this node, or lost it."""

    seed: NodeId
    registered: bool
    observed: SocketAddress | None
    """This node's address as the seed sees it."""
    reason: str | None
    """Why it is not registered; None when it is, or left."""


@dataclass(frozen=True, slots=True)
class IdentityChanged:
    """The node's certificate was renewed, or its key rotated; new connections show the new one."""

    node_id: NodeId
    rotated: bool


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """This subscriber was too slow; so many of its events were dropped."""

    count: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The node is closed. Always the last event."""

    reason: str | None
    """None when it was asked to close; else what made it."""


NodeEvent = (
    Ready
    | ConnectionOpened
    | ConnectionLost
    | DialFailed
    | StreamServed
    | StreamRefused
    | PathChanged
    | PeerSilent
    | PeerHeard
    | SeedChanged
    | IdentityChanged
    | EventsMissed
    | Stopped
)


def as_json(event: NodeEvent) -> dict[str, Any]:
    """The event as JSON types: `{"event": "connection_opened", …}`, ids and addresses as text."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = dataclasses.fields(event)
    return {"event": name, **{f.name: _plain(getattr(event, f.name)) for f in fields}}


def _plain(value: object) -> Any:
    if isinstance(value, NodeId | SocketAddress):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


class Subscription:
    """One subscriber's bounded queue; iterate it. Ends after Stopped, or once it is closed."""

    def __init__(self, events: Events, *, ended: bool) -> None:
        self._events = events
        self._queue: deque[NodeEvent] = deque()
        self._missed = 0
        self._ended = ended
        self._arrived = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[NodeEvent]:
        return self

    async def __anext__(self) -> NodeEvent:
        """The next event; cancelling it loses none."""
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsMissed(missed)
            if self._queue:
                return self._queue.popleft()
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """Receive nothing more; what waits is dropped. Idempotent."""
        self._queue.clear()
        self._missed = 0
        self._end()
        self._events._forget(self)

    def _put(self, event: NodeEvent) -> None:
        if len(self._queue) >= BACKLOG:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(event)
        self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()


class Events:
    """A node's events for any number of subscribers: `async for event in node.events`.

    Each iteration is a subscription of its own and begins when it is made, so subscribe before
    starting the node to see Ready. On the event loop's thread only.
    """

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._ended = False

    def subscribe(self) -> Subscription:
        """Begin to receive; close the subscription when it is left before its end."""
        subscription = Subscription(self, ended=self._ended)
        if not self._ended:
            self._subscriptions.append(subscription)
        return subscription

    def __aiter__(self) -> AsyncIterator[NodeEvent]:
        return self.subscribe()

    def publish(self, event: NodeEvent) -> None:
        """Hand an event to everyone; never blocks."""
        for subscription in self._subscriptions:
            subscription._put(event)
        if isinstance(event, Stopped):
            self._ended = True
            for subscription in self._subscriptions:
                subscription._end()
            self._subscriptions.clear()

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
