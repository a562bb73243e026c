"""EnginePair and the pipe under it: what they promise to the tests that stand on them."""

from __future__ import annotations

import random

import pytest

from keynet.engine import Datagrams
from keynet.testing.link import LinkModel, Pipe, merged
from keynet.testing.pair import EnginePair, Stalled


class Repeater:
    """Sends numbered datagrams, again every 100 ms until it hears the number back."""

    def __init__(self, count: int = 0, *, echo: bool = False) -> None:
        self.left = list(range(count))
        self.echo = echo
        self.out: list[bytes] = [b"%06d" % n for n in self.left]
        self.deadline: float | None = None
        self.heard: list[bytes] = []
        self.events: list[str] = []

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            self.heard.append(bytes(datagram))
            if self.echo:
                self.out.append(bytes(datagram))
            elif int(bytes(datagram)) in self.left:
                self.left.remove(int(bytes(datagram)))
        if not self.left:
            self.deadline = None
            self.events.append("done")

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        out, self.out = self.out, []
        if self.left and self.deadline is None:
            self.deadline = now + 0.1
        return [Datagrams(datagram) for datagram in out]

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        if self.deadline is not None and now >= self.deadline:
            self.out = [b"%06d" % n for n in self.left]
            self.deadline = None

    def next_event(self) -> str | None:
        return self.events.pop(0) if self.events else None


def test_runs_until_the_condition_and_keeps_time() -> None:
    pair = EnginePair(Repeater(3), Repeater(echo=True), link=LinkModel(latency=0.05))
    pair.run(lambda: "done" in pair.a.events)
    assert pair.now == pytest.approx(1000.1)
    pair.run(1.0)
    assert pair.now == pytest.approx(1001.1)


def test_the_answering_side_is_made_by_the_first_batch() -> None:
    made: list[int] = []

    def accept(first: Datagrams, now: float) -> Repeater:
        made.append(len(first))
        engine = Repeater(echo=True)
        engine.receive(first, now)
        return engine

    pair = EnginePair(Repeater(3), accept)
    pair.run(lambda: pair.a.events)
    assert made == [3]
    assert pair.b.engine.heard == [b"000000", b"000001", b"000002"]


def test_loss_is_survived_the_same_way_every_time() -> None:
    def outcome(seed: int) -> tuple[float, dict[str, int]]:
        link = LinkModel(loss=0.3, duplication=0.1, reordering=0.2, jitter=0.02)
        pair = EnginePair(Repeater(50), Repeater(echo=True), link=link, seed=seed)
        pair.run(lambda: pair.a.events)
        return pair.now, dict(pair.a.pipe.counts)

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)
    assert outcome(1)[1]["lost"] > 0
    assert outcome(1)[1]["duplicated"] > 0


def test_a_pair_that_cannot_get_there_says_so() -> None:
    silent = EnginePair(Repeater(), Repeater())
    with pytest.raises(Stalled, match="no deadline"):
        silent.run(lambda: False)
    cut = EnginePair(Repeater(1), Repeater(echo=True), link=LinkModel(partitioned=True))
    with pytest.raises(Stalled, match="did not come true"):
        cut.run(lambda: cut.a.events, limit=5.0)


def test_a_deadline_that_never_moves_is_found() -> None:
    class Spinner(Repeater):
        def next_deadline(self) -> float:
            return 0.0

    with pytest.raises(Stalled, match="deadline that has passed"):
        EnginePair(Spinner(), Repeater()).run(1.0)


def test_output_without_end_is_found() -> None:
    class Fountain(Repeater):
        def datagrams_to_send(self, now: float) -> list[Datagrams]:
            return [Datagrams(b"x")]

    with pytest.raises(Stalled, match="never comes to an end"):
        EnginePair(Fountain(), Repeater()).run(1.0)


def sent_through(model: LinkModel, *batches: Datagrams, seed: int = 0) -> tuple[Pipe, list[bytes]]:
    pipe = Pipe(model, random.Random(seed))
    for batch in batches:
        pipe.send(batch, 10.0)
    return pipe, pipe.arrivals(1e9)


def test_the_mtu_drops_what_may_not_fragment() -> None:
    big = bytes(1500)
    pipe, arrived = sent_through(LinkModel(mtu=1400), Datagrams(big))
    assert (arrived, pipe.counts["too_big"]) == ([], 1)
    _, arrived = sent_through(LinkModel(mtu=1400), Datagrams(big, may_fragment=True))
    assert arrived == [big]


def test_the_bottleneck_queues_then_drops() -> None:
    pipe = Pipe(LinkModel(latency=1.0, rate=1000.0, queue=2500), random.Random(0))
    pipe.send(Datagrams(bytes(3000), 1000), 10.0)
    assert pipe.counts["queue_full"] == 1
    assert pipe.next_arrival() == pytest.approx(12.0)
    assert len(pipe.arrivals(12.0)) == 1
    assert pipe.next_arrival() == pytest.approx(13.0)


def test_corruption_flips_one_bit() -> None:
    _, arrived = sent_through(LinkModel(corruption=1.0), Datagrams(bytes(64)))
    assert sum(byte.bit_count() for byte in arrived[0]) == 1


def test_reordering_lets_later_datagrams_overtake() -> None:
    numbered = [Datagrams(bytes([n])) for n in range(100)]
    _, arrived = sent_through(LinkModel(reordering=0.3), *numbered)
    assert arrived != sorted(arrived)
    assert sorted(arrived) == [bytes([n]) for n in range(100)]


def test_batches_are_merged_as_gro_does_and_reused_after_delivery() -> None:
    batches = merged([b"aaaa", b"bbbb", b"cc", b"dddd"])
    got = [(batch.stride, len(batch), bytes(batch.data), batch) for batch in batches]
    assert [entry[:3] for entry in got] == [(4, 3, b"aaaabbbbcc"), (4, 1, b"dddd")]
    assert bytes(got[0][3].data) == b"\xa5" * 10
