"""Whatever comes, in whatever order, at whatever time: links, punchers, answerers and seeds stay
bounded, raise nothing but what they say, and send few datagrams to who does not answer."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.address import NodeId, SocketAddress
from keynet.errors import KeynetError
from keynet.identity import Identity, PeerIdentity, verify_chain
from keynet.identity.agreement import ping_key
from keynet.signalling.answering import Answering
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.link import Link
from keynet.signalling.link_events import LinkLost
from keynet.signalling.messages import sign_registration
from keynet.signalling.path_state import MAX_PATHS
from keynet.signalling.pings import ASK_BACK, MAX_PROBES
from keynet.signalling.puncher import MAX_TARGETS, Puncher, PunchSettings
from keynet.signalling.registry import MemoryRegistry
from keynet.signalling.seed import Seed
from keynet.signalling.settings import LinkSettings
from keynet.stun.binding import Ping, Pong, ping, pong, question, read
from keynet.udp.path import Path

OWN, PEER, OTHER = (Identity.generate() for _ in range(3))
KEY = ping_key(OWN.private_key, PEER.node_id)
ADDRESSES = [SocketAddress(f"198.51.100.{n}", 4000) for n in range(1, 40)]
SILENT = SocketAddress("203.0.113.9", 53)
"""Who never answers, and in whose name pings are replayed."""
ATTEMPT = len(PunchSettings().pauses) * PunchSettings().attempts

at = st.sampled_from(ADDRESSES)
step = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 20) | st.floats(0, 1e7)),
    st.tuples(st.just("ping"), at, st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("replay"), st.just(SILENT)),
    st.tuples(st.just("forged ping"), at),
    st.tuples(st.just("pong"), at),
    st.tuples(st.just("answer"), at),
    st.tuples(st.just("punch"), st.lists(at, max_size=16)),
    st.tuples(st.just("handshake"), at),
    st.tuples(st.just("fail"), at),
    st.tuples(st.just("rename")),
    st.tuples(st.just("network"), st.none() | st.just("no interface")),
    st.tuples(st.just("close")),
)


class World:
    """One link, what it sent, and the rules."""

    def __init__(self) -> None:
        self.now, self.lost, self.replays, self.punches = 100.0, False, 0, 0
        self.sent: list[tuple[SocketAddress, bytes]] = []
        self.to_silent: Counter[str] = Counter()
        self.link = Link(
            OWN.node_id,
            PEER.node_id,
            KEY,
            self.now,
            settings=LinkSettings(),
            random=random.Random(1).randbytes,
            rng=random.Random(1),
            ceiling=lambda path: 1472,
        )

    def ping(self, number: int = 0, key: bytes = KEY, *, nominate: bool = False) -> Ping:
        message = read(ping(number.to_bytes(12), OWN.node_id, PEER.node_id, key, nominate=nominate))
        assert isinstance(message, Ping)
        return message

    def do(self, kind: str, *of: object) -> None:
        link, now = self.link, self.now
        match kind, *of:
            case "wait", float(seconds):
                self.now += seconds
                link.handle_deadline(self.now)
            case "ping", SocketAddress() as source, bool(nominate), int(number):
                link.receive(self.ping(number, nominate=nominate), Path(source), now)
            case "replay", SocketAddress() as source:
                self.replays += 1
                link.receive(self.ping(), Path(source), now)
            case "forged ping", SocketAddress() as source:
                link.receive(self.ping(key=bytes(32)), Path(source), now)
            case "pong", SocketAddress() as source:
                link.receive(self.pong(self.ping()), Path(source), now)
            case "answer", SocketAddress() as source:
                for remote, data in self.sent[-64:]:
                    message = read(data)
                    if remote == source and isinstance(message, Ping):
                        link.receive(self.pong(message), Path(remote), now)
            case "punch", list(targets):
                self.punches += 1
                told = [candidate(CandidateKind.HOST, one) for one in [*targets, SILENT]]
                link.punch(Puncher(told, now, rng=random.Random(2)), now)
            case "handshake", SocketAddress() as source:
                link.add_path(Path(source), now)
            case "fail", SocketAddress() as source:
                link.failed(Path(source), "no route")
            case ("rename",):
                link.rename(OWN.node_id, PEER.node_id, KEY, now)
            case "network", reason:
                link.network_down(reason)  # type: ignore[arg-type]
            case ("close",):
                link.close()

    def pong(self, message: Ping) -> Pong:
        answer = read(pong(message, ADDRESSES[0], KEY))
        assert isinstance(answer, Pong)
        return answer

    def take(self) -> None:
        closed = self.link.closed
        while (event := self.link.next_event()) is not None:
            assert not closed, f"{event} after the end"
            assert not self.lost, f"{event} after the loss"
            self.lost = isinstance(event, LinkLost)
        out = self.link.datagrams_to_send(self.now)
        assert not out or not self.link.closed, "output after the end"
        for path, data in out:
            self.sent.append((path.remote, data))
            if path.remote == SILENT:
                self.to_silent["pings" if data[0] == 0 else "pongs"] += 1

    def check(self) -> None:
        link = self.link
        assert len(link.paths) <= MAX_PATHS
        assert len(link._pings) <= MAX_PROBES
        assert link.in_use is None or link.in_use in link.paths
        assert link.puncher is None or len(link.puncher.outcomes) <= MAX_TARGETS
        assert self.to_silent["pongs"] <= self.replays
        limit = ATTEMPT * self.punches + len(ASK_BACK) * self.replays
        assert self.to_silent["pings"] <= limit
        deadline = link.next_deadline()
        assert deadline is None or math.isfinite(deadline)


@settings(deadline=None, max_examples=150)
@given(st.lists(step, max_size=60))
def test_a_link_stays_within_its_bounds(steps):
    world = World()
    for one in steps:
        world.do(*one)
        world.take()
        world.check()
    world.link.close()
    world.link.close()
    assert world.link.next_deadline() is None
    assert world.link.next_event() is None
    assert world.link.datagrams_to_send(world.now) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(at, st.floats(0, 3)), max_size=20))
def test_a_link_without_an_answer_is_quiet_in_the_end(pings):
    """Deadlines lead on: at each one something is done, and none is left for ever."""
    world = World()
    world.do("punch", ADDRESSES[:4])
    for source, pause in pings:
        world.do("ping", source, False, 0)
        world.do("wait", pause)
        world.take()
    for _ in range(2000):
        deadline = world.link.next_deadline()
        if deadline is None:
            break
        world.now = max(world.now, deadline)
        world.link.handle_deadline(world.now)
        world.take()
        world.check()
    assert world.link.next_deadline() is None
    assert not world.link.paths


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_after_a_header_are_read_or_dropped(data, cut):
    for start in (question(bytes(12)), ping(bytes(12), OWN.node_id, PEER.node_id, KEY)):
        body = start[20 : 20 + cut] + data
        body += bytes(-len(body) % 4)
        read(start[:2] + len(body).to_bytes(2) + start[4:20] + body)


asked = st.tuples(
    st.sampled_from(["register", "unregister", "find", "offer", "wait", "deny"]),
    st.sampled_from([OWN, PEER, OTHER]),
    st.sampled_from([OWN, PEER, OTHER]),
    st.binary(max_size=40) | st.just(b"honest"),
    st.floats(0, 1e6),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(asked, max_size=40))
def test_a_seed_raises_only_what_it_says_and_keeps_only_what_is_signed(asked):
    now = 0.0

    async def deliver(to: PeerIdentity, sealed: bytes, wait: float) -> bytes:
        assert 0.0 <= wait <= 1.0
        return sealed

    seed = Seed(MemoryRegistry(most=2), deliver, lambda _: float("nan"))
    for verb, who, whom, data, number in asked:
        peer = verify_chain(who.chain, who.node_id)
        blob = sign_registration(whom, bytes(16)) if data == b"honest" else data
        try:
            match verb:
                case "register":
                    seed.register(peer, blob, SILENT, now)
                    assert who is whom
                case "unregister":
                    seed.unregister(peer, now)
                case "find":
                    seed.find(peer, whom.node_id, now)
                case "offer":
                    asyncio.run(seed.offer(peer, whom.node_id, data, now))
                case "wait":
                    now += number
                case "deny":
                    seed.denied = {NodeId(bytes(32)), whom.node_id}
        except KeynetError:
            pass
        assert len(seed) <= 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=200), st.floats()), max_size=20))
def test_an_answerer_drops_what_is_no_offer(offers):
    node = Answering(random.Random(1).randbytes, lambda _: None, lambda _: (), ["utp"])
    for number, (data, wait) in enumerate(offers):
        try:
            node.answer(OWN, data, wait, float(number))
        except KeynetError:
            continue
        raise AssertionError("an offer out of nothing")
    assert len(node._sessions) == 0
