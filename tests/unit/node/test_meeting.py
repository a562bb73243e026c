"""Nodes behind NATs meet through seeds, on virtual time: real nodes, FakeNet's NATs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from keynet.address import SocketAddress
from keynet.config import Config
from keynet.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeynetError,
    LookupFailed,
    PunchFailed,
    RpcError,
)
from keynet.identity import Identity
from keynet.node import ConnectionLost as Lost
from keynet.node import (
    ConnectionOpened,
    Node,
    NodeEvent,
    PathChanged,
    PeerHeard,
    PeerSilent,
    SeedChanged,
)
from keynet.node.seeding import CARRIER_BURST, deliver
from keynet.rpc.status import Status
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.puncher import Fate
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.nat import FULL_CONE, PORT_RESTRICTED, SYMMETRIC, Nat, NatModel

SEEDS = [SocketAddress("203.0.113.1", 4000), SocketAddress("203.0.113.129", 4000)]


class World:
    """An internet with seeds, and homes behind NATs."""

    def __init__(self) -> None:
        self.net = FakeNet(3, LinkModel(latency=0.01))
        self.seeds: list[Node] = []
        self.nodes: list[Node] = []
        self.nats: dict[Node, Nat] = {}
        self.ids = [Identity.generate() for _ in SEEDS]

    async def seed(self, number: int = 0) -> Node:
        node = Node(
            Config(seeding=True),
            identity=self.ids[number],
            endpoint=self.net.endpoint(SEEDS[number]),
        )
        await node.start()
        self.seeds.append(node)
        return node

    async def home(self, model: NatModel | None, *seeds: int, **settings: object) -> Node:
        number = len(self.nodes) + 1
        wanted = [f"{self.ids[n].node_id}@{SEEDS[n]}" for n in seeds or (0,)]
        if model is None:
            endpoint = self.net.endpoint(SocketAddress(f"198.51.{number}.2", 4000))
            nat = None
        else:
            nat = Nat(model, f"198.51.{number}.1", seed=number)
            endpoint = self.net.endpoint(SocketAddress(f"192.168.{number}.2", 4000), behind=nat)
        config = Config.of(**({"seed": wanted} | settings))
        node = Node(config, identity=Identity.generate(), endpoint=endpoint)
        events = node.events.subscribe()
        await node.start()
        self.nodes.append(node)
        if nat is not None:
            self.nats[node] = nat
        if "seed" not in settings:
            await first(events, SeedChanged)
        events.close()
        return node

    async def aclose(self) -> None:
        for node in [*self.nodes, *self.seeds]:
            await node.aclose()
            node.endpoint.close()


async def first(events: AsyncIterator[NodeEvent], kind: type[NodeEvent]) -> NodeEvent:
    async with asyncio.timeout(60):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        await made.aclose()


def in_world(program: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with world() as made:
            await made.seed()
            await program(made)

    run(whole())


async def pings(one: Node, other: Node) -> None:
    await one.client(other.node_id).call("keynet.ping")


@pytest.mark.parametrize("of_a", [FULL_CONE, PORT_RESTRICTED], ids=["full-cone", "port-restricted"])
@pytest.mark.parametrize("of_b", [None, FULL_CONE, PORT_RESTRICTED], ids=["public", "fc", "pr"])
def test_two_homes_meet_by_id_alone(of_a, of_b):
    async def program(world: World) -> None:
        a, b = await world.home(of_a), await world.home(of_b)
        started_at = asyncio.get_running_loop().time()
        await pings(a, b)
        assert asyncio.get_running_loop().time() - started_at < 1.0
        remote = a.host.connection(b.node_id).remote
        assert remote.host.startswith("198.51.2.")
        await pings(b, a)
        assert len(a.host.connections) == 2

    in_world(program)


def test_what_cannot_be_punched_says_why():
    async def program(world: World) -> None:
        a, b = await world.home(SYMMETRIC), await world.home(SYMMETRIC)
        with pytest.raises(KeynetError):
            await a.connect(b.node_id)
        await asyncio.sleep(20)
        why = a.signalling.meeting.why(b.node_id)
        assert "no answer from" in why.result
        assert {one.fate for one in why.outcomes} == {Fate.TRIED}
        with pytest.raises(PunchFailed, match="no answer from"):
            await a.signalling.meeting.open_path(b.node_id)

    in_world(program)


def test_why_tells_of_the_latest_attempt():
    async def program(world: World) -> None:
        a, b = await world.home(SYMMETRIC), await world.home(SYMMETRIC)
        with pytest.raises(DeadlineExceeded, match="keynet why"):
            await a.connect(b.node_id)
        under_way = a.signalling.meeting.why(b.node_id)
        assert under_way.at == asyncio.get_running_loop().time()
        await asyncio.sleep(20)
        ended = a.signalling.meeting.why(b.node_id)
        assert under_way.at < ended.at < asyncio.get_running_loop().time()
        assert not ended.unknown
        await b.aclose()
        with pytest.raises(LookupFailed):
            await a.connect(b.node_id)
        latest = a.signalling.meeting.why(b.node_id)
        assert latest.unknown
        assert "does not know" in latest.result

    in_world(program)


def test_a_node_that_is_not_there_is_said_to_be_unknown():
    async def program(world: World) -> None:
        a = await world.home(PORT_RESTRICTED)
        with pytest.raises(LookupFailed, match="does not know"):
            await a.connect(Identity.generate().node_id)

    in_world(program)


def test_a_denied_node_is_refused_with_the_reason_and_not_punched():
    async def program(world: World) -> None:
        a = await world.home(PORT_RESTRICTED)
        b = await world.home(PORT_RESTRICTED, deny=str(a.node_id), seed=a.config.seed[0].__str__())
        await asyncio.sleep(2)
        with pytest.raises(PunchFailed, match="this node denies you"):
            await a.connect(b.node_id)
        assert b.host.links.get(a.node_id) is None

    in_world(program)


def test_private_addresses_go_to_whom_the_allow_list_names():
    async def program(world: World) -> None:
        a = await world.home(PORT_RESTRICTED)
        b = await world.home(PORT_RESTRICTED)
        await pings(a, b)
        told = a.host.links.get(b.node_id).puncher.outcomes
        assert {one.candidate.address.host for one in told} == {"198.51.2.1"}
        c = await world.home(PORT_RESTRICTED, allow=str(a.node_id), seed=str(a.config.seed[0]))
        await asyncio.sleep(2)
        await pings(a, c)
        told = a.host.links.get(c.node_id).puncher.outcomes
        assert "192.168.3.2" in {one.candidate.address.host for one in told}

    in_world(program)


def test_with_each_others_address_no_seed_is_needed():
    async def whole() -> None:
        world = World()
        ids = [Identity.generate() for _ in range(2)]
        nats = [Nat(PORT_RESTRICTED, f"198.51.{n}.1") for n in (1, 2)]
        nodes = []
        for n in range(2):
            other = f"{ids[1 - n].node_id}@{nats[1 - n].outside}:4000"
            at = world.net.endpoint(SocketAddress(f"192.168.{n}.2", 4000), behind=nats[n])
            node = Node(Config.of(peer=other), identity=ids[n], endpoint=at)
            await node.start()
            nodes.append(node)
        world.nodes = nodes
        await asyncio.sleep(11)
        started_at = asyncio.get_running_loop().time()
        await pings(*nodes)
        assert asyncio.get_running_loop().time() - started_at < 1.0
        await asyncio.sleep(300)
        await pings(*reversed(nodes))
        await world.aclose()

    run(whole())


def test_a_peer_that_is_lost_ends_streams_and_calls_with_the_reason():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        events = a.events.subscribe()
        connection = await a.connect(b.node_id)
        stream = await connection.open_stream()
        b.endpoint.close()
        silent = await first(events, PeerSilent)
        assert silent.peer == b.node_id
        with pytest.raises(ConnectionLost, match="has not been heard for 15 s"):
            await stream.read()
        events.close()

    in_world(program)


def test_a_nat_that_reboots_is_met_again_before_anything_breaks():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        events = a.events.subscribe()
        connection = await a.connect(b.node_id)
        await first(events, ConnectionOpened)
        await pings(a, b)
        world.nats[b].reboot("198.51.99.1")
        seen = [await first(events, PeerSilent), await first(events, PathChanged)]
        assert seen[1].remote.host == "198.51.99.1"
        assert connection.error is None
        await pings(a, b)
        events.close()

    in_world(program)


def test_a_short_outage_is_told_and_survived():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        events = a.events.subscribe()
        await pings(a, b)
        pipes = list(world.net._pipes.values())
        for pipe in pipes:
            pipe.model = LinkModel(latency=0.01, partitioned=True)
        await first(events, PeerSilent)
        for pipe in world.net._pipes.values():
            pipe.model = LinkModel(latency=0.01)
        await first(events, PeerHeard)
        await pings(a, b)
        events.close()

    in_world(program)


def test_a_peer_that_was_lost_is_met_again_at_once():
    """Nothing of the lost connection is left in the way of the next one."""

    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        events = [a.events.subscribe(), b.events.subscribe()]
        await pings(a, b)
        for pipe in world.net._pipes.values():
            pipe.model = LinkModel(latency=0.01, partitioned=True)
        await lost(events[0], b)
        await lost(events[1], a)
        for pipe in world.net._pipes.values():
            pipe.model = LinkModel(latency=0.01)
        for one in (a, b):
            await one.connect(world.seeds[0].node_id)
        mended_at = asyncio.get_running_loop().time()
        await pings(a, b)
        assert asyncio.get_running_loop().time() - mended_at < 1.0
        for one in events:
            one.close()

    in_world(program)


async def lost(events: AsyncIterator[NodeEvent], peer: Node) -> None:
    while (await first(events, Lost)).peer != peer.node_id:
        pass


def test_one_of_two_seeds_is_enough_and_a_seed_that_comes_back_is_used_again():
    async def program(world: World) -> None:
        second = await world.seed(1)
        a = await world.home(PORT_RESTRICTED, 0, 1)
        b = await world.home(PORT_RESTRICTED, 0, 1)
        await asyncio.sleep(2)
        assert [one.registered for one in a.signalling.memberships] == [True, True]
        dead = world.seeds.pop(0)
        await dead.aclose()
        dead.endpoint.close()
        await pings(a, b)
        await asyncio.sleep(60)
        assert [one.registered for one in a.signalling.memberships] == [False, True]
        await world.seed(0)
        await asyncio.sleep(60)
        assert [one.registered for one in a.signalling.memberships] == [True, True]
        await second.aclose()

    in_world(program)


def test_a_rotated_node_is_met_by_its_old_id():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        old = b.node_id
        await b.rotate()
        await asyncio.sleep(2)
        connection = await a.connect(old)
        assert connection.peer.node_id == b.node_id

    in_world(program)


def test_a_peer_that_has_rotated_is_still_reported_when_it_falls_silent():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        events = a.events.subscribe()
        connection = await a.connect(b.node_id)
        await first(events, ConnectionOpened)
        await pings(a, b)
        await b.rotate()
        await asyncio.sleep(2)
        await pings(a, b)
        assert connection.peer.node_id == b.node_id
        await asyncio.sleep(60)
        b.endpoint.close()
        silent = await first(events, PeerSilent)
        assert silent.peer == b.node_id
        events.close()

    in_world(program)


def test_configured_addresses_do_not_cut_a_punch_short():
    async def program(world: World) -> None:
        a = await world.home(PORT_RESTRICTED)
        peer = Identity.generate().node_id
        silent = [candidate(CandidateKind.HOST, SocketAddress("198.51.200.1", 4000))]
        link = a.host.links.punch(peer, silent)
        puncher = link.puncher
        a.signalling.meeting.punch(peer, [SocketAddress("198.51.201.1", 4000)])
        assert link.puncher is puncher
        await asyncio.sleep(20)
        a.signalling.meeting.punch(peer, [SocketAddress("198.51.201.1", 4000)])
        assert link.puncher is not puncher

    in_world(program)


def test_who_brings_offers_without_end_is_held_back_before_they_are_opened():
    async def program(world: World) -> None:
        a, b = await world.home(PORT_RESTRICTED), await world.home(PORT_RESTRICTED)
        await pings(a, b)
        counters = b.signalling.meeting.answering.counters
        before, client = counters.total(), a.client(b.node_id, "jsonrpc")
        bringing = (deliver(client, b"nonsense", 0.0) for _ in range(int(CARRIER_BURST) + 20))
        told = await asyncio.gather(*bringing, return_exceptions=True)
        statuses = Counter(one.status for one in told if isinstance(one, RpcError))
        assert set(statuses) == {Status.INVALID_ARGUMENT, Status.RESOURCE_EXHAUSTED}
        assert counters.total() - before == statuses[Status.INVALID_ARGUMENT] < CARRIER_BURST + 5
        await pings(await world.home(PORT_RESTRICTED), b)

    in_world(program)


def test_a_link_that_is_being_punched_is_not_dropped_for_its_age():
    async def program(world: World) -> None:
        a = await world.home(PORT_RESTRICTED)
        peer = Identity.generate().node_id
        link = a.host.links.to(peer)
        await asyncio.sleep(59)
        silent = [candidate(CandidateKind.HOST, SocketAddress("198.51.200.1", 4000))]
        a.host.links.punch(peer, silent)
        await asyncio.sleep(14)
        assert a.host.links.get(peer) is link
        await asyncio.sleep(10)
        assert a.host.links.get(peer) is None

    in_world(program)
