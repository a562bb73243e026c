"""TlsChannel under any schedule of bytes: what was written arrives, or there is an error."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keynet.errors import KeynetError
from keynet.identity import Identity
from keynet.transport.tls import TlsChannel
from tests.unit.transport.channels import connected, flush

ALICE = Identity.generate()
BOB = Identity.generate()
NOISE = random.Random(7).randbytes(1 << 17)


def use(channel: TlsChannel) -> None:
    """Everything that an engine does after an input; nothing of it may raise."""
    channel.read(65536)
    if channel.established and channel.error is None and not channel.eof_sent:
        channel.write(b"x")
    while channel.pending:
        before = channel.pending
        assert 0 < len(channel.pull(channel.pending)) <= before
    assert channel.error is None or isinstance(channel.error, KeynetError)


@given(st.booleans(), st.lists(st.binary(max_size=200)))
def test_random_bytes_never_raise(server: bool, pieces: list[bytes]) -> None:
    channel = TlsChannel(ALICE, server=server, expected=None)
    for piece in pieces:
        channel.feed(piece)
        use(channel)
    assert not channel.established


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_handshake_with_a_changed_byte_never_raises(data: st.DataObject) -> None:
    client = TlsChannel(ALICE, server=False, expected=BOB.node_id)
    server = TlsChannel(BOB, server=True, expected=ALICE.node_id)
    spoilt = data.draw(st.integers(0, 4200))
    change = data.draw(st.integers(1, 255))
    seen = 0
    for _ in range(4):
        for source, sink in ((client, server), (server, client)):
            wire = bytearray(source.pull(source.pending))
            if seen <= spoilt < seen + len(wire):
                wire[spoilt - seen] ^= change
            seen += len(wire)
            sink.feed(wire)
            sink.read(100)
    for channel in (client, server):
        use(channel)
        assert channel.error is None or not channel.read(1)


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_corruption_after_the_handshake_gives_a_prefix_and_an_error(
    place: int, insert: bytes, cut: bool
) -> None:
    client, server = connected(ALICE, BOB)
    data = NOISE[:2000]
    for start in range(0, 2000, 500):
        client.write(data[start : start + 500])
    wire = bytes(client.pull(client.pending))
    at = place % len(wire)
    changed = wire[:at] + insert + wire[at + len(insert) if cut else at :]
    server.feed(changed)
    got = server.read(1 << 16)
    assert data.startswith(got)
    assert server.error is not None or len(got) < 2000 or changed.startswith(wire)
    use(server)


class Pair(RuleBasedStateMachine):
    """Two ends that write, pull, feed, read and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = connected(ALICE, BOB)
        self.sent = [bytearray(), bytearray()]
        self.got = [0, 0]
        self.ended = [False, False]

    @rule(end=st.sampled_from((0, 1)), size=st.integers(0, 65536))
    def write(self, end: int, size: int) -> None:
        if not self.ended[end]:
            start = len(self.sent[end]) % 65521
            data = memoryview(NOISE)[start : start + size]
            self.ends[end].write(data)
            self.sent[end] += data

    @rule(end=st.sampled_from((0, 1)), size=st.integers(0, 100000))
    def carry(self, end: int, size: int) -> None:
        pending = self.ends[end].pending
        wire = self.ends[end].pull(size)
        assert len(wire) <= size
        assert self.ends[end].pending == pending - len(wire)
        self.ends[1 - end].feed(wire)

    @rule(end=st.sampled_from((0, 1)), size=st.integers(0, 100000))
    def read(self, end: int, size: int) -> None:
        self._expect(end, self.ends[end].read(size))

    def _expect(self, end: int, data: bytes) -> None:
        start = self.got[end]
        self.got[end] += len(data)
        assert data == self.sent[1 - end][start : self.got[end]]

    @rule(end=st.sampled_from((0, 1)))
    @precondition(lambda self: any(self.sent))
    def finish(self, end: int) -> None:
        self.ends[end].write_eof()
        self.ended[end] = True

    @invariant()
    def unharmed(self) -> None:
        for end in self.ends:
            assert end.error is None

    def teardown(self) -> None:
        for end in (0, 1):
            flush(self.ends[end], self.ends[1 - end], 30000)
            self._expect(1 - end, self.ends[1 - end].read(1 << 26))
            assert self.got[1 - end] == len(self.sent[end])
            assert self.ends[1 - end].eof_received == self.ended[end]


Pair.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestPair = Pair.TestCase
