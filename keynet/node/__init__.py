"""The composition root: `async with Node(Config(...)) as node` is where library use begins."""

from keynet.node.events import (
    ConnectionLost,
    ConnectionOpened,
    DialFailed,
    Events,
    EventsMissed,
    IdentityChanged,
    NodeEvent,
    PathChanged,
    PeerHeard,
    PeerSilent,
    Ready,
    SeedChanged,
    Stopped,
    StreamRefused,
    StreamServed,
    Subscription,
    as_json,
)
from keynet.node.node import Node

__all__ = [
    "ConnectionLost",
    "ConnectionOpened",
    "DialFailed",
    "Events",
    "EventsMissed",
    "IdentityChanged",
    "Node",
    "NodeEvent",
    "PathChanged",
    "PeerHeard",
    "PeerSilent",
    "Ready",
    "SeedChanged",
    "Stopped",
    "StreamRefused",
    "StreamServed",
    "Subscription",
    "as_json",
]
