"""Scenes of bare uTP, deterministic, for tests that need no TLS."""

from __future__ import annotations

from random import Random
from typing import Any

from keynet.identity import verify_chain
from keynet.testing.plain import PlainUtp
from keynet.testing.transport.rules import TransportFactory
from keynet.testing.transport.scene import Scene, identity
from keynet.transport.utp.packet import Packet, decode


class Numbers(Random):
    """Random numbers, but the sequence numbers begin where a test wants them to."""

    def __init__(self, seed: int, first_seq: int | None) -> None:
        super().__init__(seed)
        self.first_seq = first_seq

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        if (start, stop) == (1, 65536) and self.first_seq is not None:
            return self.first_seq
        return super().randrange(start, stop, step)


def plain(
    congestion: str = "cubic", *, first_seq: int | None = None, seed: int = 0
) -> TransportFactory:
    """A factory of bare uTP."""
    peer = verify_chain(identity("listener").chain, None)
    return lambda: PlainUtp(peer, congestion, random=Numbers(seed, first_seq))


def plain_scene(
    congestion: str = "cubic", *, first_seq: int | None = None, seed: int = 0, **scene: Any
) -> Scene:
    """A scene of bare uTP whose dialer has been answered; the listener waits for first bytes."""
    made = Scene(plain(congestion, first_seq=first_seq, seed=seed), seed=seed, **scene)
    made.run(lambda: made.dialer.peer)
    return made


def sent_packets(scene: Scene, side: str = "a") -> list[Packet]:
    """A list that grows with every packet that a side sends from now on."""
    packets: list[Packet] = []

    def note(batch: Any) -> None:
        for datagram in batch:
            packet = decode(bytes(datagram))
            assert packet is not None
            packets.append(packet)

    getattr(scene.pair, side).tap = note
    return packets


def sizes(scene: Scene) -> dict[str, int]:
    """How much each of an engine's containers holds, both ends together."""
    total: dict[str, int] = {}
    for side in (scene.pair.a, scene.pair.b):
        engine = side.engine
        table = engine._table
        held = {
            "live": len(table.live),
            "ids": len(table._by_receive_id) + len(table._challengers),
            "half_open": table.half_open,
            "dirty": len(engine._dirty),
            "deadlines": len(engine._deadlines._heap),
            "events": len(engine._events),
            "resets": len(engine._admission.refusals),
            "budget": len(engine._link.budget._active),
        }
        for name, size in held.items():
            total[name] = total.get(name, 0) + size
    return total
