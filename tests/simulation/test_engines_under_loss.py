"""Two whole uTP engines over a long lossy link: what the congestion controller alone promises, the
sender's pacing, retransmissions and acknowledgements must not lose again."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from keynet.engine import Datagrams
from keynet.identity import verify_chain
from keynet.testing.link import LinkModel
from keynet.testing.pair import EnginePair, StaticLink
from keynet.testing.plain import PlainUtp
from keynet.testing.transport.scene import identity
from keynet.transport.api import StreamEstablished, StreamReadable, StreamWritable
from keynet.udp.budget import ReceiveBudget

RATE = 25e6
"""200 Mbit/s, counted in UDP payload."""
LINK = LinkModel(latency=0.025, rate=RATE, queue=1_250_000, loss=0.01)
CHUNK = bytes(1 << 18)
TICK = 0.001


class WakingPair(EnginePair):
    """Both hosts wake every millisecond at most, as busy ones do; it also spares the test time."""

    def _next_time(self) -> float | None:
        when = super()._next_time()
        return None if when is None else max(self.now, math.ceil(when / TICK) * TICK)


class Transfer:
    """One stream that is always full, from its dial on."""

    def __init__(self, congestion: str, seed: int) -> None:
        peer = verify_chain(identity("listener").chain, None)
        link = StaticLink(budget=ReceiveBudget(8 << 20))

        def transport(number: int) -> PlainUtp:
            return PlainUtp(peer, congestion, random=Random(2 * seed + number))

        dialer = transport(0).connect(link, identity("dialer"), peer.node_id, 1000.0)

        def accept(first: Datagrams, now: float) -> Any:
            return transport(1).accept(link, first, identity("listener"), now)

        self.received = 0
        self.pair = WakingPair(dialer, accept, link=LINK, seed=seed)
        self.pair.a.on_event = self._on_dialers
        self.pair.b.on_event = self._on_listeners
        dialer.open_stream(self.pair.now)

    def _on_dialers(self, event: Any) -> None:
        if isinstance(event, StreamEstablished | StreamWritable):
            engine = self.pair.a.engine
            while engine.write(event.stream_id, CHUNK, self.pair.now) == len(CHUNK):
                continue

    def _on_listeners(self, event: Any) -> None:
        if isinstance(event, StreamReadable):
            engine = self.pair.b.engine
            while data := engine.read(event.stream_id, 1 << 18, self.pair.now):
                self.received += len(data)

    def share(self, seconds: float) -> float:
        """What part of the link the stream filled, start-up included."""
        self.pair.run(seconds)
        return self.received / (RATE * seconds)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bbr_fills_most_of_a_lossy_link(seed: int) -> None:
    assert Transfer("bbr", seed).share(4.0) >= 0.7


def test_the_same_link_stops_cubic() -> None:
    """Or the simulation would prove nothing."""
    assert Transfer("cubic", 1).share(3.0) < 0.2
