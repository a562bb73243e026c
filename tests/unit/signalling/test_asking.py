"""Asking through several seeds: honest, slow, lying and dead ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from keynet.address import NodeId
from keynet.errors import ConnectionLost, KeynetError, LookupFailed, PunchFailed
from keynet.identity import Identity
from keynet.signalling.answering import Answering
from keynet.signalling.asking import Agreed, Asking, SeedChannel
from keynet.signalling.messages import Registration, sign_registration
from keynet.testing.clock import run
from tests.unit.signalling.people import ALICE, BOB, CANDIDATES, EVE, counting, peer


class FakeSeed:
    """A seed with Bob behind it, which may misbehave."""

    def __init__(self, delay: float = 0.0, error: KeynetError | None = None) -> None:
        self.seed: NodeId = Identity.generate().node_id
        self.bob = Answering(counting(), lambda _: None, lambda _: CANDIDATES, ["utp"])
        self.found = sign_registration(BOB, self.bob.nonces.current(0.0))
        self.delay, self.error = delay, error
        self.altered: Callable[[bytes], bytes] = bytes
        self.offers = 0

    async def find(self, node_id: NodeId) -> bytes:
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return self.found

    async def offer(self, to: NodeId, sealed: bytes) -> bytes:
        self.offers += 1
        await asyncio.sleep(self.delay)
        return self.altered(self.bob.answer(BOB, sealed, 0.0, 0.0)[0])


def ask(*seeds: SeedChannel) -> Agreed:
    asking = Asking(counting(), lambda _: CANDIDATES, ["utp"])

    async def program() -> Agreed:
        async with asyncio.timeout(60):
            return await asking.ask(ALICE, BOB.node_id, seeds)

    return run(program())


def test_one_honest_seed_is_enough():
    seed = FakeSeed()
    agreed = ask(seed)
    assert agreed.answer.peer == peer(BOB)
    assert agreed.answer.candidates == CANDIDATES
    assert agreed.seed == seed.seed


def test_a_seed_that_stalls_costs_a_moment():
    slow, quick = FakeSeed(delay=50.0), FakeSeed()
    assert ask(slow, quick).seed == quick.seed


def test_a_prompt_seed_is_the_only_one_asked():
    first, second = FakeSeed(delay=0.01), FakeSeed()
    assert ask(first, second).seed == first.seed
    assert second.offers == 0


def test_a_dead_seed_is_passed_over():
    dead, alive = FakeSeed(error=ConnectionLost("it went away")), FakeSeed()
    assert ask(dead, alive).seed == alive.seed


def test_a_lying_seed_is_passed_over():
    forged, altered, alive = FakeSeed(), FakeSeed(), FakeSeed()
    forged.found = sign_registration(EVE, bytes(16))
    altered.altered = lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])
    assert ask(forged, altered, alive).seed == alive.seed


def test_an_answer_to_an_earlier_offer_is_not_believed():
    seed = FakeSeed()
    kept: list[bytes] = []

    def the_first_again(answer: bytes) -> bytes:
        kept.append(answer)
        return kept[0]

    seed.altered = the_first_again
    asking = Asking(counting(), lambda _: CANDIDATES, ["utp"])

    async def program() -> None:
        await asking.ask(ALICE, BOB.node_id, [seed])
        with pytest.raises(PunchFailed, match="another offer"):
            await asking.ask(ALICE, BOB.node_id, [seed])

    run(program())


def test_no_seed_knows_the_node():
    unknown = LookupFailed("not registered here")
    with pytest.raises(LookupFailed, match="none of the seeds knows"):
        ask(FakeSeed(error=unknown), FakeSeed(error=unknown))
    with pytest.raises(LookupFailed, match="the seed does not know"):
        ask(FakeSeed(error=unknown))
    with pytest.raises(LookupFailed, match="no seed"):
        ask()


def test_each_seed_is_named_with_its_reason():
    first, second = FakeSeed(error=ConnectionLost("it went away")), FakeSeed()
    second.bob = Answering(counting(), lambda _: "not you", lambda _: (), [])
    second.found = sign_registration(BOB, second.bob.nonces.current(0.0))
    with pytest.raises(PunchFailed, match=r"it went away.*refuses: not you"):
        ask(first, second)


def test_leaving_leaves_nothing_behind():
    asking = Asking(counting(), lambda _: CANDIDATES, ["utp"])

    async def program() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asking.ask(ALICE, BOB.node_id, [FakeSeed(delay=50), FakeSeed(delay=50)])

    run(program())  # `run` fails when a task is left


def test_what_is_told_depends_on_who_asks():
    told: list[NodeId] = []

    def candidates_for(of):
        told.append(of.node_id)
        return ()

    async def program() -> None:
        await Asking(counting(), candidates_for, []).ask(ALICE, BOB.node_id, [FakeSeed()])

    run(program())
    assert told == [Registration(peer(BOB), bytes(16)).peer.node_id]
