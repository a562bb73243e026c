"""Checks that nothing anybody sends raises out of an engine: T-30 to T-32. UDP can be spoofed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from keynet.engine import Datagrams
from keynet.testing.pair import START, StaticLink
from keynet.testing.transport.handshakes import first_datagram
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import App, Scene, identity, payload
from keynet.testing.transport.streams import finished, same
from keynet.transport.api import Capability

SIZE = 60_000


def garbage(rng: random.Random, count: int) -> Iterator[bytes]:
    """Datagrams of no protocol, the empty one among them."""
    yield b""
    for _ in range(count):
        yield rng.randbytes(rng.choice((1, 4, 19, 20, 21, 148, rng.randrange(1500))))
    yield bytes(1200)
    yield b"\xff" * 65_000


def mutations(rng: random.Random, honest: list[bytes], count: int) -> Iterator[bytes]:
    """Honest datagrams cut, stretched, with bits flipped, and with pieces of each other."""
    for _ in range(count):
        datagram = bytearray(rng.choice(honest))
        way = rng.randrange(4)
        if way == 0:
            del datagram[rng.randrange(len(datagram) + 1) :]
        elif way == 1:
            datagram += rng.randbytes(rng.randrange(1, 100))
        elif way == 2 and datagram:
            for _ in range(rng.randrange(1, 8)):
                datagram[rng.randrange(min(len(datagram), 40))] ^= 1 << rng.randrange(8)
        else:
            other = rng.choice(honest)
            cut = rng.randrange(min(len(datagram), len(other)) + 1)
            datagram[cut:] = other[cut:]
        yield bytes(datagram)


def feed(app: App, datagrams: Iterator[bytes], now: float) -> None:
    """Give an engine datagrams, one at a time and once as a batch, and take what it answers."""
    for datagram in datagrams:
        app.engine.receive(Datagrams(datagram), now)
        app.engine.receive(Datagrams(datagram * 2, len(datagram)), now)
        app.engine.datagrams_to_send(now)


@rule("T-30", "garbage is dropped, and harms nobody", Capability.STREAMS)
def check_drops_garbage(make: TransportFactory) -> None:
    rng = random.Random(30)
    scene = Scene(make)
    feed(scene.dialer, garbage(rng, 100), scene.pair.now)
    scene.connect()
    here, there = scene.open()
    data = payload(SIZE, 10)
    scene.dialer.send(here, data, eof=True)
    scene.listener.send(there, b"", eof=True)
    for app in (scene.dialer, scene.listener):
        for datagram in garbage(rng, 200):
            app.engine.receive(Datagrams(datagram), scene.pair.now)
    logs = scene.dialer.streams[here], scene.listener.streams[there]
    scene.run(lambda: finished(*logs))
    same(logs[1].received, data, "among garbage")


@rule("T-31", "forged and damaged datagrams never raise", Capability.STREAMS)
def check_withstands_forgeries(make: TransportFactory) -> None:
    """Forged headers may end a stream where a protocol cannot tell them; they may do no more."""
    for seed in range(4):
        transfer_among_forgeries(Scene(make, seed=seed), random.Random(seed))


def transfer_among_forgeries(scene: Scene, rng: random.Random) -> None:
    honest: list[bytes] = []
    for side in (scene.pair.a, scene.pair.b):
        side.tap = lambda batch: honest.extend(bytes(datagram) for datagram in batch)
    scene.connect()
    here, there = scene.open()
    data = payload(SIZE, 13)
    scene.dialer.send(here, data, eof=True)
    scene.run(0.015)
    for app in (scene.dialer, scene.listener):
        feed(app, mutations(rng, honest[-50:] + honest[:10], 300), scene.pair.now)
    logs = scene.dialer.streams[here], scene.listener.streams[there]
    scene.run(lambda: logs[1].ended or any(log.closed for log in logs), limit=300)
    same(logs[1].received, data[: len(logs[1].received)], "among forgeries")
    if logs[1].ended:
        same(logs[1].received, data, "after a clean end")


@rule("T-32", "whatever claims() lets through, accept() survives")
def check_accepts_forged_beginnings(make: TransportFactory) -> None:
    rng, transport = random.Random(32), make()
    first = first_datagram(transport)
    for datagram in mutations(rng, [first], 300):
        if transport.claims(datagram):
            batch = Datagrams(datagram)
            engine = transport.accept(StaticLink(), batch, identity("listener"), START)
            engine.datagrams_to_send(START)
            for other in mutations(rng, [first, datagram], 3):
                engine.receive(Datagrams(other), START)
            engine.close(START)
