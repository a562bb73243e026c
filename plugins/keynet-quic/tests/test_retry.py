"""Where strangers flood, each shows first that it is there: Retry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from keynet_quic import QuicTransport, header, transport
from keynet_quic.engine import Engine
from keynet_quic.retry import MAX_SPENT, Strangers
from keynet_quic.sent_back import SentBack

from keynet.engine import Datagrams
from keynet.errors import HandshakeFailed, LocallyClosed
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, EnginePair, StaticLink
from keynet.testing.transport.handshakes import first_datagram
from keynet.testing.transport.scene import App, identity
from keynet.transport.api import ConnectionTerminated


def crowded(limit: int = 0) -> QuicTransport:
    return replace(transport(), strangers=Strangers(limit))


def accepted(made: QuicTransport, datagram: bytes, now: float = START) -> Engine | SentBack:
    engine = made.accept(StaticLink(), Datagrams(datagram), identity("listener"), now)
    assert isinstance(engine, Engine | SentBack)
    return engine


class Crowd:
    """A dialer, and a listener that keeps nothing of those whom it sends back, as a host does."""

    def __init__(self, made: QuicTransport, link: LinkModel | None = None) -> None:
        listening = identity("listener")
        dialing = transport().connect(StaticLink(), identity("dialer"), listening.node_id, START)
        self.sent_back = 0

        def accept(first: Datagrams, now: float) -> Engine | None:
            engine = made.accept(StaticLink(), first, listening, now)
            if isinstance(engine, Engine):
                return engine
            self.sent_back += 1
            for batch in engine.datagrams_to_send(now):
                self.pair.b.send(batch, now)
            return None

        self.pair = EnginePair(dialing, accept, link=link, seed=2)
        self.dialer = App("dialer", self.pair.a, lambda: self.pair.now)
        self.listener = App("listener", self.pair.b, lambda: self.pair.now)


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_who_comes_back_with_the_token_is_served(loss: float) -> None:
    crowd = Crowd(crowded(), LinkModel(loss=loss))
    crowd.pair.run(lambda: crowd.dialer.peer and crowd.listener.peer, limit=60)
    assert crowd.sent_back >= 1
    assert crowd.listener.peer is not None
    assert crowd.listener.peer.node_id == identity("dialer").node_id


def test_only_above_the_limit_is_anybody_sent_back() -> None:
    made = crowded(3)
    engines = [accepted(made, first_datagram(made)) for _ in range(5)]
    assert [type(engine) for engine in engines] == [Engine] * 3 + [SentBack] * 2
    engines[0].close(START)
    assert isinstance(accepted(made, first_datagram(made)), Engine)


def test_who_has_proved_itself_is_no_stranger_any_more() -> None:
    made = crowded(1)
    crowd = Crowd(made)
    crowd.pair.run(lambda: crowd.listener.peer)
    assert crowd.sent_back == 0
    assert not made.strangers.flooding


def test_a_retry_is_smaller_than_what_it_answers_and_the_last_thing_said() -> None:
    made = crowded()
    engine = accepted(made, first := first_datagram(made))
    (batch,) = engine.datagrams_to_send(START)
    assert len(batch.data) < len(first) // 3
    assert engine.next_event() is None
    assert engine.datagrams_to_send(START) == []
    last = engine.next_event()
    assert isinstance(last, ConnectionTerminated)
    assert isinstance(last.error, HandshakeFailed)
    assert (engine.next_event(), engine.next_deadline()) == (None, None)
    with pytest.raises(LocallyClosed):
        engine.open_stream(START)


def second_datagram(made: QuicTransport) -> bytes:
    """A first datagram that carries a token of `made`."""
    dialing = made.connect(StaticLink(), identity("dialer"), identity("listener").node_id, START)
    (first,) = dialing.datagrams_to_send(START)
    (retry,) = accepted(made, bytes(first.data)).datagrams_to_send(START)
    dialing.receive(retry, START)
    (again,) = dialing.datagrams_to_send(START)
    return bytes(again.data)


def test_a_token_is_good_once_for_a_while_and_unchanged() -> None:
    made = crowded()
    good = second_datagram(made)
    assert isinstance(accepted(made, good), Engine)
    assert isinstance(accepted(made, good), SentBack)
    assert isinstance(accepted(made, second_datagram(made), START + 31), SentBack)
    damaged = bytearray(second_datagram(made))
    damaged[40] ^= 1  # inside the token
    assert isinstance(accepted(made, bytes(damaged)), SentBack)
    assert isinstance(accepted(crowded(), second_datagram(made)), SentBack)


def test_used_tokens_are_remembered_in_bounded_number() -> None:
    strangers = Strangers(0)
    made = replace(transport(), strangers=strangers)
    first = header.initial(second_datagram(made))
    assert first is not None
    strangers._spent = dict.fromkeys(bytes([i // 256, i % 256]) for i in range(MAX_SPENT))
    assert strangers.admit(first, START) is None
    strangers._spent.popitem()
    assert strangers.admit(first, START) is not None
