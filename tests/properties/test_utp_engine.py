"""The engine on any path, among any bytes: what arrives is exact, or the stream ends in error."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.engine import Datagrams
from keynet.errors import KeynetError
from keynet.testing.link import LinkModel
from keynet.testing.pair import START, StaticLink
from keynet.testing.transport.scene import Scene, identity, payload
from keynet.transport.utp import transport
from keynet.transport.utp.packet import Packet, PacketType, decode, encode
from tests.unit.utp.scenes import plain, sizes

SHARE = st.floats(0, 0.3)
PATHS = st.builds(
    LinkModel,
    latency=st.floats(0, 0.2),
    jitter=st.floats(0, 0.05),
    loss=SHARE,
    duplication=SHARE,
    reordering=SHARE,
    reordering_delay=st.floats(0, 0.2),
    rate=st.none() | st.floats(50_000, 1e7),
    queue=st.integers(3000, 300_000),
    mtu=st.sampled_from([1232, 1300, 1472, 8952]),
)
SCENES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 30),
        "first_seq": st.none() | st.integers(65_400, 65_535),
        "congestion": st.sampled_from(["bbr", "cubic", "ledbat"]),
        "size": st.integers(0, 150_000),
        "ceiling": st.sampled_from([1232, 1472, 9000, 65_507]),
    }
)


def scene_of(what: dict[str, Any], link: LinkModel, back: LinkModel | None = None) -> Scene:
    make = plain(what["congestion"], first_seq=what["first_seq"], seed=what["seed"])
    scene = Scene(make, link=link, seed=what["seed"], mtu=1200, mtu_ceiling=what["ceiling"])
    if back is not None:
        scene.pair.b.pipe.model = back
    return scene


def over(scene: Scene) -> bool:
    """Every stream that is known at an end is closed there. Some may never have been answered."""
    ends = (scene.dialer.streams, scene.listener.streams)
    return all(log.closed for end in ends for log in end.values())


def bounded(scene: Scene) -> None:
    scene.run(200.0)
    found = sizes(scene)
    assert found.pop("deadlines") <= 130
    assert set(found.values()) == {0}, found


@settings(max_examples=40, deadline=None)
@given(SCENES, PATHS, PATHS, st.integers(1, 4))
def test_streams_arrive_exactly_or_end_in_an_error(
    what: dict[str, Any], link: LinkModel, back: LinkModel, streams: int
) -> None:
    scene = scene_of(what, link, back)
    up, down = payload(what["size"], 1), payload(what["size"] // 3, 2)
    scene.listener.on_stream = lambda opened: scene.listener.send(opened, down, eof=True)
    opened = [scene.dialer.open() for _ in range(streams)]
    for stream in opened:
        scene.dialer.send(stream, up, eof=True)
    scene.run(lambda: over(scene), limit=3000)
    for log in scene.dialer.streams.values():
        assert down.startswith(log.received)
        if log.error is None:
            assert log.received == down
    for log in scene.listener.streams.values():
        assert up.startswith(log.received)
        if log.error is None:
            assert log.received == up
    if scene.pair.b.engine_or_none is not None:
        bounded(scene)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30), PATHS, st.floats(0, 0.05), st.integers(0, 60_000))
def test_with_tls_no_damage_passes(seed: int, link: LinkModel, share: float, size: int) -> None:
    """Flipped bits anywhere: what is given to the application is a beginning of what was sent."""
    damaging = LinkModel(latency=link.latency, loss=link.loss / 3, corruption=share)
    scene = Scene(transport, link=damaging, seed=seed)
    data = payload(size, seed)
    scene.listener.on_ended = lambda opened: scene.listener.send(opened, b"", eof=True)
    here = scene.dialer.open()
    scene.dialer.send(here, data, eof=True)
    log = scene.dialer.streams[here]
    scene.run(lambda: log.closed, limit=3000)
    for received in scene.listener.streams.values():
        assert data.startswith(received.received)
        if received.ended:
            assert received.received == data
    if log.error is None:
        assert any(received.ended for received in scene.listener.streams.values())


HOSTILE = st.lists(
    st.tuples(
        st.sampled_from(["honest", "cut", "header", "noise", "wait", "batch"]),
        st.integers(0, 1 << 16),
        st.binary(max_size=40),
    ),
    max_size=60,
)


def spoiled(kind: str, number: int, noise: bytes, honest: list[bytes]) -> Datagrams:
    one = honest[number % len(honest)] if honest else b"\x41" + bytes(19)
    if kind == "cut":
        one = one[: number % (len(one) + 1)] + noise
    elif kind == "header":
        changed = bytearray(one)
        for offset, value in enumerate(noise):
            if offset + number % 20 < len(changed):
                changed[offset + number % 20] ^= value
        one = bytes(changed)
    elif kind == "noise":
        one = noise * (1 + number % 50)
    if kind == "batch":
        return Datagrams(one * 5 + noise, len(one))
    return Datagrams(one)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), HOSTILE)
def test_nothing_that_arrives_raises_or_grows(
    seed: int, steps: list[tuple[str, int, bytes]]
) -> None:
    scene = Scene(plain(seed=seed), seed=seed)
    honest: list[bytes] = []
    for side in (scene.pair.a, scene.pair.b):
        side.tap = lambda batch: honest.extend(bytes(datagram) for datagram in batch)
    scene.run(lambda: scene.dialer.peer)
    here, _ = scene.open()
    scene.dialer.send(here, payload(20_000, seed))
    for kind, number, noise in steps:
        if kind == "wait":
            scene.run(number / (1 << 17))
            continue
        app = scene.listener if number % 3 else scene.dialer
        app.engine.receive(spoiled(kind, number, noise, honest[-200:]), scene.pair.now)
    scene.run(120.0)
    scene.dialer.close()
    scene.listener.close()
    scene.run(30.0)
    assert scene.dialer.terminated
    assert scene.listener.terminated
    found = sizes(scene)
    assert found["live"] == found["events"] == found["dirty"] == found["budget"] == 0


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["rotate", "open", "wait", "old syn", "new syn", "answer"]),
        st.booleans(),
        st.integers(0, 1 << 16),
    ),
    max_size=25,
)


class Restarter:
    """Somebody at the dialer's address who begins streams with ids that may be in use."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.begun: dict[int, int] = {}
        """The seq_nr of the last SYN for each receive id of the listener's."""
        self.answers: dict[int, Packet] = {}
        scene.pair.b.tap = self._note

    def _note(self, batch: Datagrams) -> None:
        for datagram in batch:
            packet = decode(bytes(datagram))
            if packet is None or packet.type != PacketType.STATE:
                continue
            receive_id = packet.connection_id + 1
            if self.begun.get(receive_id) == packet.ack_nr:
                self.answers[receive_id] = packet

    def syn(self, receive_id: int, seq: int) -> None:
        self.begun[receive_id] = seq
        self._send(encode(PacketType.SYN, receive_id - 1, 0, 0, 1 << 20, seq, 0))

    def answer(self) -> None:
        """Show that the SYN-ACKs arrived, as who is really at the address can."""
        for receive_id, answer in list(self.answers.items()):
            seq = self.begun[receive_id] + 1
            ids = (receive_id, 0, 0, 1 << 20)
            self._send(encode(PacketType.DATA, *ids, seq, answer.seq_nr - 1) + b"anew")
        self.answers.clear()

    def _send(self, packet: bytes) -> None:
        self.scene.listener.engine.receive(Datagrams(packet), self.scene.pair.now)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30), HAPPENINGS, st.floats(0, 0.1))
def test_rotations_and_restarts_with_ids_in_use(
    seed: int, happenings: list[tuple[str, bool, int]], loss: float
) -> None:
    """What arrives is exact, the newest identities are known, an unanswered SYN ends nothing."""
    scene = Scene(transport, link=LinkModel(latency=0.01, loss=loss), seed=seed).connect()
    who = {True: scene.dialing, False: scene.listening}
    apps = {True: scene.dialer, False: scene.listener}
    scene.open()  # the stream that began with the connection: it proves who both were then
    restarter, data, answered = Restarter(scene), payload(3000, seed), False
    opened: list[int] = []
    for what, ours, number in happenings:
        if what == "rotate" and len(who[ours].chain) < 4:
            who[ours] = who[ours].rotate()
            apps[ours].engine.identity_changed(who[ours], scene.pair.now)
        elif what == "open":
            opened.append(scene.dialer.open())
            scene.dialer.send(opened[-1], data, eof=True)
        elif what == "wait":
            scene.run(number / (1 << 13))
        elif what == "new syn":
            restarter.syn(3 + 2 * (number % 1000), number)
        elif what == "old syn" and (live := list(scene.listener.engine._table.live.values())):
            restarter.syn(live[number % len(live)].utp.receive_id, number)
        elif what == "answer" and restarter.answers:
            answered = True
            restarter.answer()
    scene.run(3.0)
    last = scene.dialer.open()
    scene.dialer.send(last, b"the last")
    got = scene.listener.streams
    scene.run(lambda: any(log.received == b"the last" for log in got.values()), limit=60)
    assert scene.listener.peer
    assert scene.dialer.peer
    assert scene.listener.peer.node_id == who[True].node_id
    assert scene.dialer.peer.node_id == who[False].node_id
    for log in got.values():
        assert data.startswith(log.received) or log.received in (b"the last", b"anew")
    if not answered:
        assert all(scene.dialer.streams[stream].error is None for stream in opened)
    scene.run(40.0)
    assert scene.listener.engine._table._challengers == {}
    assert scene.listener.engine._table.half_open == 0
    assert scene.dialer.terminated is scene.listener.terminated is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=1500), max_size=20), st.booleans())
def test_any_first_datagrams_are_survived(datagrams: list[bytes], encrypted: bool) -> None:
    make = transport if encrypted else plain()
    first = Datagrams(b"\x41\x00" + bytes(18) + (datagrams[0] if datagrams else b""))
    engine = make().accept(StaticLink(), first, identity("listener"), START)
    for n, datagram in enumerate(datagrams):
        engine.receive(Datagrams(datagram), START + n / 10)
        engine.datagrams_to_send(START + n / 10)
    now = START + 10
    for _ in range(50):
        engine.datagrams_to_send(now)
        deadline = engine.next_deadline()
        if deadline is None:
            break
        now = max(now, deadline)
        engine.handle_deadline(now)
    assert engine.next_deadline() is None
    while (event := engine.next_event()) is not None:
        error = getattr(event, "error", None)
        assert error is None or isinstance(error, KeynetError)
