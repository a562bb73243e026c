"""Staying registered: renewals, restarts of the seed, changes of the node, and leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from keynet.errors import ConnectionLost
from keynet.signalling.membership import LAST_RETRY, Member, Membership
from keynet.signalling.seed import Registered
from keynet.testing.clock import run
from tests.unit.signalling.people import BOB, SOMEWHERE


class FakeRegistrar:
    """A seed that may be away."""

    def __init__(self) -> None:
        self.seed = BOB.node_id
        self.registered_at: list[float] = []
        self.unregistered = 0
        self.away = False
        self.lifetime = 120.0
        self.silent = False

    async def register(self, blob: bytes) -> Registered:
        self.registered_at.append(asyncio.get_running_loop().time())
        if self.silent:
            await asyncio.sleep(1e6)
        if self.away:
            raise ConnectionLost("the seed is gone")
        return Registered(self.lifetime, SOMEWHERE)

    async def unregister(self) -> None:
        self.unregistered += 1
        if self.away:
            raise ConnectionLost("the seed is gone")


def with_member(
    program: Callable[[Member, FakeRegistrar, list[Membership]], Awaitable[None]],
) -> FakeRegistrar:
    registrar = FakeRegistrar()
    told: list[Membership] = []

    async def whole() -> None:
        member = Member(registrar, lambda: b"registration", told.append)
        member.start()
        try:
            await program(member, registrar, told)
        finally:
            await member.aclose()
            await member.aclose()

    run(whole())
    return registrar


def test_it_renews_three_times_in_a_lifetime():
    async def program(member, registrar, told):
        await asyncio.sleep(240)
        assert 6 <= len(registrar.registered_at) <= 9
        assert told == [Membership(BOB.node_id, registered=True, observed=SOMEWHERE)]

    assert with_member(program).unregistered == 1


def test_it_comes_back_by_itself_when_the_seed_does():
    async def program(member, registrar, told):
        await asyncio.sleep(1)
        registrar.away = True
        await asyncio.sleep(300)
        assert not member.membership.registered
        assert member.membership.error == "the seed is gone"
        tries = len(registrar.registered_at)
        assert tries < 30
        registrar.away = False
        await asyncio.sleep(LAST_RETRY * 1.3)
        assert member.membership.registered
        assert [one.registered for one in told] == [True, False, True]

    with_member(program)


def test_a_silent_seed_is_asked_again():
    async def program(member, registrar, told):
        registrar.silent = True
        await asyncio.sleep(30)
        assert "no answer within" in (member.membership.error or "")
        assert len(registrar.registered_at) >= 2

    with_member(program)


def test_it_registers_anew_at_once_when_something_changed():
    async def program(member, registrar, told):
        await asyncio.sleep(1)
        member.renew()
        await asyncio.sleep(0.1)
        assert len(registrar.registered_at) == 2

    with_member(program)


def test_a_seed_cannot_have_it_renew_without_pause():
    async def program(member, registrar, told):
        registrar.lifetime = 0.0
        await asyncio.sleep(10)
        assert len(registrar.registered_at) <= 15

    with_member(program)


def test_leaving_a_seed_that_is_away_ends_soon():
    async def program(member, registrar, told):
        await asyncio.sleep(1)
        registrar.away = True

    with_member(program)
