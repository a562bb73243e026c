"""A seed registers, finds and carries; it is bounded, and its members need not trust it."""

from __future__ import annotations

import pytest

from keynet.address import NodeId
from keynet.errors import BrokenLink, LookupFailed, RemoteProtocolError, RpcError, UnclaimedNodeId
from keynet.identity import Identity, PeerIdentity
from keynet.signalling.messages import MAX_BLOB, MAX_WAIT, sign_registration
from keynet.signalling.registry import Entry, MemoryRegistry
from keynet.signalling.seed import PERMISSION_DENIED, RESOURCE_EXHAUSTED, Seed, SeedLimits
from tests.unit.signalling.people import ALICE, BOB, EVE, SOMEWHERE, peer

NONCE = bytes(16)


class Wire:
    """What the seed delivers, and how the nodes answer."""

    def __init__(self) -> None:
        self.delivered: list[tuple[NodeId, bytes, float]] = []
        self.answer = b"sealed answer"

    async def deliver(self, to: PeerIdentity, sealed: bytes, wait: float) -> bytes:
        self.delivered.append((to.node_id, sealed, wait))
        return self.answer


def a_seed(wire: Wire, **options: object) -> Seed:
    trips = {ALICE.node_id: 0.03, BOB.node_id: 0.05, EVE.node_id: 30.0}
    return Seed(MemoryRegistry(), wire.deliver, trips.get, **options)  # type: ignore[arg-type]


def registered(seed: Seed, identity: Identity, now: float = 0.0) -> None:
    seed.register(peer(identity), sign_registration(identity, NONCE), SOMEWHERE, now)


def test_a_member_learns_its_address_and_is_found():
    seed = a_seed(Wire())
    blob = sign_registration(BOB, NONCE)
    answer = seed.register(peer(BOB), blob, SOMEWHERE, 0.0)
    assert answer.observed == SOMEWHERE
    assert answer.lifetime == SeedLimits().registration_lifetime
    assert seed.find(peer(ALICE), BOB.node_id, 1.0) == blob
    with pytest.raises(LookupFailed):
        seed.find(peer(ALICE), BOB.node_id, answer.lifetime + 1)


def test_nobody_registers_for_another():
    seed = a_seed(Wire())
    with pytest.raises(UnclaimedNodeId):
        seed.register(peer(EVE), sign_registration(BOB, NONCE), SOMEWHERE, 0.0)
    with pytest.raises(RemoteProtocolError):
        seed.register(peer(EVE), b"nonsense", SOMEWHERE, 0.0)
    assert seed.counters["refused: bad registration"] == 2
    assert len(seed) == 0


async def test_an_offer_is_carried_with_half_the_way_between_both_as_advice():
    wire = Wire()
    seed = a_seed(wire)
    registered(seed, BOB)
    assert await seed.offer(peer(ALICE), BOB.node_id, b"sealed", 0.0) == b"sealed answer"
    assert wire.delivered == [(BOB.node_id, b"sealed", pytest.approx(0.04))]
    await seed.offer(peer(EVE), BOB.node_id, b"sealed", 0.0)
    assert wire.delivered[-1][2] == MAX_WAIT


async def test_an_offer_to_an_earlier_id_goes_to_the_node():
    wire = Wire()
    seed = a_seed(wire)
    rotated = BOB.rotate()
    registered(seed, rotated)
    await seed.offer(peer(ALICE), BOB.node_id, b"sealed", 0.0)
    assert wire.delivered[0][0] == rotated.node_id


async def test_what_is_too_large_is_not_carried():
    wire = Wire()
    seed = a_seed(wire)
    registered(seed, BOB)
    with pytest.raises(RemoteProtocolError):
        await seed.offer(peer(ALICE), BOB.node_id, bytes(MAX_BLOB + 1), 0.0)
    wire.answer = bytes(MAX_BLOB + 1)
    with pytest.raises(RemoteProtocolError):
        await seed.offer(peer(ALICE), BOB.node_id, b"sealed", 0.0)


async def test_strangers_to_the_seed_are_not_found():
    with pytest.raises(LookupFailed):
        await a_seed(Wire()).offer(peer(ALICE), BOB.node_id, b"sealed", 0.0)


def test_a_peer_that_asks_too_often_is_told_when_to_come_back():
    seed = a_seed(Wire(), limits=SeedLimits(rate=1.0, burst=2.0))
    registered(seed, BOB)
    for _ in range(2):
        seed.find(peer(ALICE), BOB.node_id, 0.0)
    with pytest.raises(RpcError, match=r"try again in 1\.000 s") as caught:
        seed.find(peer(ALICE), BOB.node_id, 0.0)
    assert caught.value.status == RESOURCE_EXHAUSTED
    seed.find(peer(EVE), BOB.node_id, 0.0)
    seed.find(peer(ALICE), BOB.node_id, 1.0)


def test_denied_ids_are_neither_served_nor_found_by_any_id_of_theirs():
    seed = a_seed(Wire(), denied=[EVE.node_id])
    with pytest.raises(RpcError) as caught:
        registered(seed, EVE.rotate())
    assert caught.value.status == PERMISSION_DENIED
    with pytest.raises(LookupFailed):
        seed.find(peer(ALICE), EVE.node_id, 0.0)


def test_whoever_leaves_is_not_found():
    seed = a_seed(Wire())
    registered(seed, BOB)
    seed.unregister(peer(BOB), 0.0)
    seed.unregister(peer(BOB), 0.0)
    with pytest.raises(LookupFailed):
        seed.find(peer(ALICE), BOB.node_id, 0.0)


# The registry.


def entry(identity: Identity, expires_at: float = 100.0) -> Entry:
    return Entry(peer(identity), b"", expires_at)


def test_the_newest_chain_wins_and_a_retired_key_cannot_come_back():
    registry = MemoryRegistry()
    rotated = BOB.rotate()
    registry.put(entry(BOB), 0.0)
    registry.put(entry(rotated), 0.0)
    assert registry.get(BOB.node_id, 0.0).peer.node_id == rotated.node_id
    assert len(registry) == 1
    with pytest.raises(BrokenLink, match="newest"):
        registry.put(entry(BOB), 0.0)


def test_a_fork_of_a_known_node_is_refused():
    registry = MemoryRegistry()
    registry.put(entry(BOB.rotate()), 0.0)
    with pytest.raises(BrokenLink):
        registry.put(entry(BOB.rotate()), 0.0)


def test_room_is_made_by_the_one_renewed_longest_ago():
    registry = MemoryRegistry(most=2)
    for one in (ALICE, BOB, ALICE, EVE):
        registry.put(entry(one), 0.0)
    assert len(registry) == 2
    with pytest.raises(LookupFailed):
        registry.get(BOB.node_id, 0.0)
    assert registry.get(ALICE.node_id, 0.0)


def test_the_expired_are_forgotten():
    registry = MemoryRegistry()
    registry.put(entry(ALICE, 10.0), 0.0)
    registry.put(entry(BOB, 20.0), 11.0)
    assert len(registry) == 1
