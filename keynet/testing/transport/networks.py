"""Checks on paths that lose, repeat, reorder, damage and change: T-20 to T-27."""

from __future__ import annotations

from keynet.errors import ConnectionLost
from keynet.testing.link import LinkModel
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import Scene, payload
from keynet.testing.transport.streams import exchange, finished, same
from keynet.transport.api import Capability

NOTICES_WITHIN = 60.0
"""Seconds after which a connection with unacknowledged bytes must know that its path is dead."""
SIZE = 300_000


@rule("T-20", "loss is made good", Capability.STREAMS)
def check_survives_loss(make: TransportFactory) -> None:
    for seed in range(3):
        link = LinkModel(latency=0.02, loss=0.05)
        exchange(Scene(make, link=link, seed=seed).connect(), SIZE, limit=600)


@rule("T-21", "repeated and reordered datagrams do no harm", Capability.STREAMS)
def check_survives_duplication_and_reordering(make: TransportFactory) -> None:
    for seed in range(3):
        link = LinkModel(latency=0.02, duplication=0.2, reordering=0.2, jitter=0.005)
        exchange(Scene(make, link=link, seed=seed).connect(), SIZE, limit=600)


@rule("T-22", "damaged datagrams never become damaged bytes", Capability.STREAMS)
def check_survives_corruption(make: TransportFactory) -> None:
    for seed in range(4):
        transfer_damaged(
            Scene(make, link=LinkModel(corruption=0.03), seed=seed), payload(SIZE, seed)
        )


def transfer_damaged(scene: Scene, data: bytes) -> None:
    """The bytes arrive exactly, or the stream ends in an error after some of them."""
    dialer, listener = scene.dialer, scene.listener
    listener.on_ended = lambda opened: listener.send(opened, b"", eof=True)
    scene.run(lambda: (dialer.peer and listener.peer) or dialer.terminated, limit=600)
    if dialer.terminated:
        return
    here = dialer.open()
    dialer.send(here, data, eof=True)
    scene.run(lambda: dialer.streams[here].closed, limit=600)
    for log in listener.streams.values():
        same(log.received, data[: len(log.received)], "under corruption")
    if dialer.streams[here].error is None:
        same(listener.streams[listener.opened[0]].received, data, "after a clean end")


@rule("T-23", "a path with a small MTU is enough", Capability.STREAMS)
def check_works_on_a_small_mtu(make: TransportFactory) -> None:
    """An IPv6 path of 1280 bytes, below what the local interface would take."""
    exchange(Scene(make, link=LinkModel(mtu=1232), mtu=1200).connect(), SIZE)


@rule("T-24", "a path with a large MTU works", Capability.STREAMS)
def check_works_on_a_large_mtu(make: TransportFactory) -> None:
    link = LinkModel(mtu=65_000, latency=0.001)
    exchange(Scene(make, link=link, mtu=1200, mtu_ceiling=65_000).connect(), SIZE)
    exchange(Scene(make, link=link, mtu=65_000, mtu_ceiling=65_000).connect(), SIZE)


@rule("T-25", "streams outlive a change of path", Capability.STREAMS)
def check_survives_a_path_change(make: TransportFactory) -> None:
    """From a wide, short path to a narrow, long one and back, with bytes in flight each time."""
    wide = LinkModel(latency=0.001, mtu=8952, rate=4e6)
    narrow = LinkModel(latency=0.08, mtu=1232, rate=1e6)
    scene = Scene(make, link=wide, mtu=8952, mtu_ceiling=8952).connect()
    here, there = scene.open()
    data = payload(1_500_000, 8)
    scene.dialer.send(here, data, eof=True)
    scene.listener.send(there, b"", eof=True)
    log = scene.listener.streams[there]
    scene.run(lambda: len(log.received) > 200_000)
    scene.change_path(narrow, mtu=1200)
    scene.run(lambda: len(log.received) > 700_000, limit=60)
    scene.change_path(wide, mtu=8952, rtt=0.002)
    scene.run(lambda: finished(log, scene.dialer.streams[here]), limit=60)
    same(log.received, data, "over three paths")


@rule("T-26", "a dead path is noticed in bounded time", Capability.STREAMS)
def check_notices_a_dead_path(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    here, _ = scene.open()
    scene.dialer.send(here, payload(SIZE, 9))
    scene.run(0.02)
    scene.pair.a.pipe.model = scene.pair.b.pipe.model = LinkModel(partitioned=True)
    log = scene.dialer.streams[here]
    scene.dialer.send(here, b"into the void")
    scene.run(lambda: log.closed, limit=NOTICES_WITHIN)
    assert isinstance(log.error, ConnectionLost), f"the stream ended with {log.error!r}"
    assert log.error.reason, "ConnectionLost gives no reason"


@rule("T-27", "an idle connection stays, and rests")
def check_rests_when_idle(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    scene.run(5.0)
    before = scene.pair.a.pipe.counts["sent"] + scene.pair.b.pipe.counts["sent"]
    scene.run(60.0)
    sent = scene.pair.a.pipe.counts["sent"] + scene.pair.b.pipe.counts["sent"] - before
    assert sent <= 120, f"{sent} datagrams in a minute of silence"
    ended = scene.dialer.terminated or scene.listener.terminated
    assert ended is None, f"the connection ended by itself: {ended}"
