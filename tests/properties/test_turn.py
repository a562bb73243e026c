"""Whatever arrives, both TURN engines hold: arbitrary bytes, mutated messages, loss."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.engine import Datagrams
from keynet.relay import channel_data, codec, tcp
from keynet.relay.codec import Class, Method
from keynet.relay.events import Allocated, DataReceived, PeerPermitted
from tests.unit.relay.pair import CLIENT, PEER, Pair, batch

ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["USERNAME", "REALM", "NONCE", "DATA", "EVEN-PORT", "RESERVATION-TOKEN", "SOFTWARE"]
    ),
    st.just(""),
)
NUMBERS = st.dictionaries(
    st.sampled_from(["LIFETIME", "REQUESTED-TRANSPORT", "REQUESTED-ADDRESS-FAMILY"]),
    st.integers(0, 0xFFFFFFFF),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A STUN message of any method, perhaps signed, perhaps with one byte wrong."""
    attributes = dict(draw(NUMBERS))
    for name in draw(ATTRIBUTES):
        raw = name in ("NONCE", "DATA", "EVEN-PORT", "RESERVATION-TOKEN")
        attributes[name] = draw(st.binary(max_size=40) if raw else st.text(max_size=20))
    if draw(st.booleans()):
        attributes["ERROR-CODE"] = (draw(st.integers(0, 899)), draw(st.text(max_size=10)))
    if draw(st.booleans()):
        attributes["XOR-PEER-ADDRESS"] = ("8.8.8.8", draw(st.integers(0, 65535)))
    if draw(st.booleans()):
        attributes["CHANNEL-NUMBER"] = draw(st.integers(0, 65535))
    made = bytearray(
        codec.encode(
            draw(st.sampled_from(list(Method))),
            draw(st.sampled_from(list(Class))),
            draw(st.binary(min_size=12, max_size=12)),
            attributes,
            draw(st.sampled_from([None, b"key"])),
        )
    )
    if draw(st.booleans()):
        made[draw(st.integers(0, len(made) - 1))] = draw(st.integers(0, 255))
    return bytes(made)


ARRIVALS = st.lists(
    st.one_of(
        st.binary(max_size=100),
        messages(),
        st.builds(lambda c, d: bytes(channel_data.wrap(c, Datagrams(d)).data),
                  st.integers(0x4000, 0x4002), st.binary(max_size=20)),
    ),
    max_size=8,
)  # fmt: skip


def conversing() -> Pair:
    pair = Pair()
    pair.allocate()
    pair.permit()
    pair.send(b"bind a channel")
    assert [type(one) for one in pair.events] == [Allocated, PeerPermitted]
    pair.at_peer.clear()
    return pair


@given(arrivals=ARRIVALS, stride=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_strangers_get_nothing_forwarded_and_little_back(
    arrivals: list[bytes], stride: int
) -> None:
    pair = Pair()
    for data in arrivals:
        pair.server.receive(Datagrams(data), CLIENT, pair.now)
        back = sum(len(one.datagrams.data) for one in pair.server.transmissions())
        assert back <= 3 * len(data)
        pair.server.receive(Datagrams(data, stride), CLIENT, pair.now)
    assert pair.server.next_event() is None
    assert all(one.number == 0 for one in pair.server.transmissions())


@given(arrivals=ARRIVALS, stride=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_rubbish_does_not_end_a_conversation(arrivals: list[bytes], stride: int) -> None:
    pair = conversing()
    for data in arrivals:
        pair.client.receive(Datagrams(data), pair.now)
        pair.client.receive(Datagrams(data, stride), pair.now)
        pair.server.receive(Datagrams(data), CLIENT, pair.now)
        pair.server.receive_relayed(Datagrams(data, stride), 1, PEER, pair.now)
    pair.run(1.0)
    pair.at_peer.clear()
    assert pair.send(b"still", b"there")
    assert [data for _, data in pair.at_peer] == [b"still", b"there"]
    pair.run(700.0)
    assert all(isinstance(one, Allocated | PeerPermitted | DataReceived) for one in pair.events)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_lossy_way_loses_data_only(seed: int) -> None:
    """Seven attempts each: with 15 % lost either way no allocation is lost in an hour."""
    pair = Pair(loss=0.15, seed=seed)
    pair.allocate()
    pair.run(40.0)
    assert pair.take(Allocated)
    assert pair.permit()
    pair.run(40.0)
    assert pair.take(PeerPermitted)
    for _ in range(30):
        pair.send(b"x")
        pair.run(119.0)
    assert not pair.events
    assert len(pair.at_peer) >= 15


@given(
    channel=st.integers(0x4000, 0x4FFF),
    size=st.integers(1, 50),
    count=st.integers(1, 20),
    last=st.integers(1, 50),
)
def test_a_batch_comes_out_of_its_channel_as_it_went_in(
    channel: int, size: int, count: int, last: int
) -> None:
    datagrams = [bytes([n]) * size for n in range(count)] + [b"l" * min(last, size)]
    ((found, out),) = channel_data.unwrap(channel_data.wrap(channel, batch(*datagrams)))
    assert found == channel
    assert out.stride == size
    assert [bytes(one) for one in out] == datagrams


@given(
    channels=st.lists(st.sampled_from([0x4000, 0x4001, 0x3FFF]), min_size=1, max_size=8),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=8),
)
def test_a_mixed_batch_is_read_as_one_by_one(channels: list[int], sizes: list[int]) -> None:
    parts = [
        c.to_bytes(2) + size.to_bytes(2) + bytes([n]) * 5
        for n, (c, size) in enumerate(zip(channels, sizes, strict=False))
    ]
    parts[-1] = parts[-1][:7]

    def read(datagrams: Datagrams) -> list[tuple[int, bytes]]:
        return [(c, bytes(one)) for c, run in channel_data.unwrap(datagrams) for one in run]

    expected = [found for one in parts for found in read(Datagrams(one))]
    assert read(Datagrams(b"".join(parts), 9)) == expected


@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 30), max_size=20))
def test_a_stream_is_cut_the_same_however_it_arrives(data: bytes, sizes: list[int]) -> None:
    whole, parts = tcp.Deframer(), tcp.Deframer()
    expected, found, at = whole.feed(data), [], 0
    for size in [*sizes, len(data)]:
        found += parts.feed(data[at : at + size])
        at += size
    assert found == expected
    assert (parts.error is None) == (whole.error is None)
