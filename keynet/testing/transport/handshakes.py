"""Checks of what a transport is, what it claims, and whom it believes: T-01 to T-09."""

from __future__ import annotations

import random
import re

from keynet.address import NodeId
from keynet.engine import Datagrams
from keynet.errors import ConnectError, ConnectionLost, DeadlineExceeded, IdentityError
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, EnginePair, StaticLink
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import App, Scene, identity, payload
from keynet.transport.api import Capability, ConnectionTerminated, StreamId, Transport

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
STUN_BINDING = bytes.fromhex("000100002112a442") + bytes(12)
MOST_CLAIMED = 0.02
"""The share of random datagrams that a structural check may mistake."""
GIVES_UP_WITHIN = 120.0
"""Seconds after which a handshake that nobody answers must be over."""


def first_datagram(transport: Transport) -> bytes:
    """The first datagram of a new connection."""
    engine = transport.connect(
        StaticLink(), identity("dialer"), identity("listener").node_id, START
    )
    batches = engine.datagrams_to_send(START)
    assert batches, "a new connection sends nothing"
    return bytes(next(iter(batches[0])))


@rule("T-01", "the factory returns a transport")
def check_is_a_transport(make: TransportFactory) -> None:
    transport = make()
    assert isinstance(transport, Transport), f"{transport!r} lacks a member of Transport"
    assert NAME.fullmatch(transport.name), f"{transport.name!r} is no name that users can type"
    assert isinstance(transport.capabilities, Capability), "capabilities is no Capability"
    assert make().name == transport.name, "two calls of the factory give two names"


@rule("T-02", "claims() is structural, pure and never raises")
def check_claims_by_structure(make: TransportFactory) -> None:
    transport = make()
    first = first_datagram(transport)
    for form in (first, bytearray(first), memoryview(first)):
        assert transport.claims(form) is True, f"its own first datagram is not claimed: {form!r}"
    assert make().claims(first) is True, "the answer depends on what was seen before"
    for other in (b"", first[:1], STUN_BINDING):
        assert transport.claims(other) is False, f"claimed, but not its own: {other!r}"
    rng = random.Random(2)
    noise = [rng.randbytes(rng.choice((20, 148, 1200, rng.randrange(1500)))) for _ in range(1000)]
    claimed = sum(transport.claims(datagram) for datagram in noise)
    assert claimed <= MOST_CLAIMED * len(noise), f"{claimed} of {len(noise)} random ones claimed"


@rule("T-03", "both ends prove who they are")
def check_proves_both_identities(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    for app, other in ((scene.dialer, scene.listening), (scene.listener, scene.dialing)):
        assert app.peer is not None
        assert app.peer.node_id == other.node_id, f"the {app.name} took its peer for another node"
        assert app.peer.chain == other.chain, f"the {app.name} was not given its peer's chain"
        assert app.terminated is None, f"the {app.name}'s connection ended: {app.terminated}"


@rule("T-04", "a node that is not the one asked for is refused")
def check_refuses_another_node(make: TransportFactory) -> None:
    scene = Scene(make, expected=identity("somebody else").node_id)
    scene.run(lambda: scene.dialer.terminated or scene.dialer.peer)
    ended = scene.dialer.terminated
    assert scene.dialer.peer is None, "the dialer believed a node that it had not asked for"
    assert ended is not None
    assert isinstance(ended.error, IdentityError), f"ended with {ended.error!r}, no IdentityError"


@rule("T-05", "a node is reached by any id of its chain")
def check_reaches_a_rotated_node(make: TransportFactory) -> None:
    old, new = identity("listener"), identity("listener'")
    scene = Scene(make, listening=new, expected=old.node_id).connect()
    assert scene.dialer.peer is not None
    assert scene.dialer.peer.node_id == new.node_id, "the dialer did not learn the current id"
    assert scene.dialer.peer.matches(old.node_id), "the old id is missing from the lineage"


@rule("T-07", "a handshake that nobody answers ends by itself")
def check_gives_up_on_silence(make: TransportFactory) -> None:
    scene = Scene(make, link=LinkModel(partitioned=True))
    scene.run(lambda: scene.dialer.terminated, limit=GIVES_UP_WITHIN)
    ended = scene.dialer.terminated
    assert ended is not None
    expected = ConnectError | ConnectionLost | DeadlineExceeded
    assert isinstance(ended.error, expected), f"the error is {ended.error!r}"


@rule("T-08", "a half-open connection ends by itself")
def check_forgets_half_open_connections(make: TransportFactory) -> None:
    transport = make()
    first = first_datagram(transport)
    engine = transport.accept(StaticLink(), Datagrams(first), identity("listener"), START)
    pair = EnginePair(engine, lambda first, now: None)
    pair.run(
        lambda: any(isinstance(event, ConnectionTerminated) for event in pair.a.events),
        limit=GIVES_UP_WITHIN,
    )
    answered = sum(pair.a.pipe.counts[fate] for fate in ("arrived", "sent"))
    assert answered < 1000, f"one datagram was answered with {answered}"


@rule("T-09", "a node's newer identity is proved to its peers", Capability.STREAMS)
def check_proves_a_newer_identity(make: TransportFactory) -> None:
    for name in ("dialer", "listener"):
        scene = Scene(make).connect()
        changing, other = scene.dialer, scene.listener
        if name == "listener":
            changing, other = other, changing
        streams = scene.open()
        scene.run(1.0)
        changing.engine.identity_changed(identity(name + "'"), scene.pair.now)
        assert_both_ways(scene, streams)
        assert_both_ways(scene, scene.open())
        assert_both_ways(scene, streams)
        assert_is(changing, identity("listener" if name == "dialer" else "dialer").node_id)
        assert_is(other, identity(name + "'").node_id)
        assert other.peer is not None
        assert other.peer.chain == identity(name + "'").chain, "the new chain was not given"


def assert_both_ways(scene: Scene, streams: tuple[StreamId, StreamId]) -> None:
    """A stream carries bytes from both ends."""
    apps = (scene.dialer, scene.listener)
    logs = [app.streams[stream] for app, stream in zip(apps, streams, strict=True)]
    wanted = [len(log.received) + 5000 for log in logs]
    for app, stream in zip(apps, streams, strict=True):
        app.send(stream, payload(5000))
    scene.run(lambda: [len(log.received) for log in logs] == wanted, limit=10)


def assert_is(app: App, node_id: NodeId) -> None:
    assert app.peer is not None
    assert app.peer.node_id == node_id, f"the {app.name}'s peer is {app.peer.node_id} to it"
