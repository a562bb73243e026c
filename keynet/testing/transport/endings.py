"""Checks of how a connection ends, and that it stays ended: T-40 to T-43."""

from __future__ import annotations

from keynet.engine import Datagrams
from keynet.errors import ClosedByPeer, LocallyClosed
from keynet.testing.link import LinkModel
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import SILENCE, App, Scene, identity, payload
from keynet.testing.transport.streams import raises
from keynet.transport.api import Capability, ConnectionTerminated

TELLS_WITHIN = 10.0
"""Seconds after which the peer of a connection that was closed must know, on a good path."""


def closed_scene(make: TransportFactory) -> tuple[Scene, list[bytes]]:
    """A connection that the dialer closed in the middle of a transfer, and what was sent on it."""
    scene = Scene(make).connect()
    sent: list[bytes] = []
    for side in (scene.pair.a, scene.pair.b):
        side.tap = lambda batch: sent.extend(bytes(datagram) for datagram in batch)
    here, there = scene.open()
    scene.dialer.send(here, payload(200_000, 11))
    scene.listener.send(there, payload(200_000, 12))
    scene.run(0.03)
    scene.dialer.close()
    scene.dialer.close()
    scene.run(lambda: scene.dialer.terminated)
    return scene, sent


@rule("T-40", "close ends everything here, and twice is harmless", Capability.STREAMS)
def check_closes_twice(make: TransportFactory) -> None:
    scene, _ = closed_scene(make)
    assert scene.dialer.terminated == ConnectionTerminated(None), f"{scene.dialer.terminated}"
    for log in scene.dialer.streams.values():
        assert log.closed, "a stream outlived its connection"
        assert isinstance(log.error, LocallyClosed), f"its error is {log.error!r}"
    scene.dialer.close()
    scene.run(5.0)
    raises(LocallyClosed, lambda: scene.dialer.engine.open_stream(scene.pair.now))


@rule("T-41", "the peer learns of a close", Capability.STREAMS)
def check_tells_the_peer(make: TransportFactory) -> None:
    scene, _ = closed_scene(make)
    logs = scene.listener.streams.values()
    scene.run(lambda: all(log.closed for log in logs), limit=TELLS_WITHIN)
    for log in logs:
        assert isinstance(log.error, ClosedByPeer), f"a broken stream was reported as {log.error!r}"


@rule(*SILENCE, Capability.STREAMS)
def check_is_silent_afterwards(make: TransportFactory) -> None:
    scene, sent = closed_scene(make)
    stays_silent(scene.dialer, sent, scene.pair.now)
    lost = Scene(make, link=LinkModel(partitioned=True))
    lost.run(lambda: lost.dialer.terminated)
    stays_silent(lost.dialer, sent, lost.pair.now)


def stays_silent(app: App, datagrams: list[bytes], now: float) -> None:
    engine = app.engine
    for later in (0.0, 0.001, 1.0, 1000.0):
        for datagram in datagrams[-100:]:
            engine.receive(Datagrams(datagram), now + later)
        engine.handle_deadline(now + later)
        engine.close(now + later)
        engine.path_changed(1200, None, now + later)
        engine.identity_changed(identity("dialer'"), now + later)
        assert engine.next_deadline() is None, "a terminated engine still waits for a deadline"
        assert not engine.datagrams_to_send(now + later), "a terminated engine still sends"
        event = engine.next_event()
        assert event is None, f"{event} came after ConnectionTerminated"


@rule("T-43", "close is possible at any moment")
def check_closes_at_any_moment(make: TransportFactory) -> None:
    for step in range(25):
        scene = Scene(make)
        scene.run(step * 0.004)
        heard = scene.pair.b.engine_or_none is not None
        close_now(scene, scene.listener if heard and step % 2 else scene.dialer)


def close_now(scene: Scene, app: App) -> None:
    app.close()
    scene.run(lambda: app.terminated, limit=60)
    scene.run(1.0)
    assert app.terminated == ConnectionTerminated(None), f"closing ended with {app.terminated}"
