"""Whatever peers, functions and bindings do in whatever order: no slot leaks, none is invented.

The truth is kept apart from the dispatcher: who is inside a context, and whose function lives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.address import NodeId
from keynet.errors import RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.access import CallAccess
from keynet.rpc.api import Call
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.limits import Limits, PublicRates
from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error
from keynet.testing.clock import run

PEERS = [PeerIdentity(one, (one,), ()) for one in (NodeId(bytes([n]) * 32) for n in range(3))]
LIMITS = Limits(max_calls=3, max_calls_per_peer=2)

Step = tuple[Any, ...]

CALLS = st.tuples(
    st.just("call"),
    st.sampled_from(["well", "badly", "refusing", "stubborn", "stream"]),
    st.sampled_from(PEERS),
    st.sampled_from([None, 0.0, 0.5, 2.0]),
)
STEPS = st.lists(
    st.one_of(
        CALLS,
        st.tuples(st.just("crowd"), st.lists(st.sampled_from(PEERS), min_size=4, max_size=8)),
        st.tuples(st.just("hold"), st.sampled_from(PEERS)),
        st.tuples(st.just("let_go")),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("tell")),
        st.tuples(st.just("tell_and_cancel"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 4.0])),
        st.tuples(st.just("drain"), st.sampled_from([0.0, 0.3])),
    ),
    max_size=25,
)


class World:
    """A dispatcher, functions of every temper, and the truth about them."""

    def __init__(self) -> None:
        service = Service("s")
        for function in (self.well, self.badly, self.refusing, self.stubborn, self.stream):
            service.method(function)
        self.dispatcher = Dispatcher([service], access=CallAccess(anyone=True), limits=LIMITS)
        self.inside: set[Call] = set()
        self.alive: set[Call] = set()
        self.told = asyncio.Event()
        """Set when well-meaning functions are to end."""
        self.tasks: list[asyncio.Task[object]] = []
        self.held: list[tuple[AbstractContextManager[Call], Call]] = []

    # The functions.

    @contextlib.contextmanager
    def living(self, call: Call) -> Iterator[None]:
        self.alive.add(call)
        try:
            yield
        finally:
            self.alive.discard(call)

    async def well(self, call: Call) -> int:
        with self.living(call):
            await self.told.wait()
            return 1

    async def badly(self, call: Call) -> int:
        with self.living(call):
            await self.told.wait()
            raise ValueError("as asked")

    async def refusing(self, call: Call) -> int:
        with self.living(call):
            await self.told.wait()
            raise rpc_error(Status.ABORTED, "as asked")

    async def stubborn(self, call: Call) -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + 3.0
        with self.living(call):
            while (left := until - loop.time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
            return 1

    async def stream(self, call: Call) -> AsyncIterator[int]:
        with self.living(call):
            while not self.told.is_set():
                yield 1

    # The steps.

    async def call(self, name: str, peer: PeerIdentity, seconds: float | None) -> None:
        full = self.is_full_for(peer)
        task = asyncio.create_task(self.one_call(name, peer, seconds))
        self.tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert refused(task) == full, "the limits hold, and nothing else refuses"

    async def crowd(self, peers: list[PeerIdentity]) -> None:
        """Enough calls at once to meet the limits."""
        for peer in peers:
            await self.call("well", peer, None)

    async def one_call(self, name: str, peer: PeerIdentity, seconds: float | None) -> object:
        with self.dispatcher.admit(f"s.{name}", peer, binding="test", timeout=seconds) as call:
            self.inside.add(call)
            try:
                return await self.dispatcher.run(call, call.method.params(), None, self.send)
            finally:
                self.inside.discard(call)

    async def send(self, item: object) -> None:
        await asyncio.sleep(0.1)

    async def hold(self, peer: PeerIdentity) -> None:
        full = self.is_full_for(peer)
        context = self.dispatcher.admit("s.well", peer, binding="another")
        try:
            call = context.__enter__()
        except RpcError:
            assert full, "the limits alone refuse"
            return
        assert not full
        self.inside.add(call)
        self.held.append((context, call))

    async def let_go(self) -> None:
        if self.held:
            context, call = self.held.pop()
            self.inside.discard(call)
            context.__exit__(None, None, None)

    async def cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    async def tell(self) -> None:
        self.told.set()
        await asyncio.sleep(0.2)
        self.told.clear()

    async def tell_and_cancel(self, number: int) -> None:
        """Cancel a binding in the very moment in which its function ends."""
        self.told.set()
        await self.cancel(number)
        await self.tell()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def drain(self, grace: float) -> None:
        await self.dispatcher.drain("test", grace)
        assert all(task.done() for task in self.tasks), "who drains has no more calls"

    # The truth.

    def is_full_for(self, peer: PeerIdentity) -> bool:
        calls = self.inside | self.alive
        of_peer = sum(call.peer is peer for call in calls)
        return len(calls) >= LIMITS.max_calls or of_peer >= LIMITS.max_calls_per_peer

    async def take(self, step: Step) -> None:
        name, *arguments = step
        await getattr(self, name)(*arguments)
        await asyncio.sleep(0.001)
        assert self.dispatcher.calls == len(self.inside | self.alive)

    async def end(self) -> None:
        while self.held:
            await self.let_go()
        await self.dispatcher.aclose(0.0)
        await asyncio.sleep(10.0)
        assert self.dispatcher.calls == 0
        assert all(ended_as_promised(task) for task in self.tasks)


def refused(task: asyncio.Task[object]) -> bool:
    if not task.done() or task.cancelled():
        return False
    error = task.exception()
    return isinstance(error, RpcError) and error.status == Status.RESOURCE_EXHAUSTED


def ended_as_promised(task: asyncio.Task[object]) -> bool:
    """With a result, cancelled, or with an RpcError: never with anything else."""
    return task.done() and (
        task.cancelled() or task.exception() is None or isinstance(task.exception(), RpcError)
    )


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_slots_are_taken_and_given_back_exactly_once(steps: list[Step]) -> None:
    async def program() -> None:
        world = World()
        for step in steps:
            await world.take(step)
        await world.end()

    run(program())


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 3.0)), max_size=200),
    st.floats(0.5, 20.0),
    st.integers(1, 10),
)
@settings(max_examples=100, deadline=None)
def test_no_peer_gets_more_than_its_rate(
    asks: list[tuple[int, float]], rate: float, burst: int
) -> None:
    rates = PublicRates(Limits(public_rate=rate, public_burst=burst))
    now, passed = 0.0, [0] * 6
    for number, pause in asks:
        now += pause
        with contextlib.suppress(RpcError):
            rates.take(NodeId(bytes([number]) * 32), now)
            passed[number] += 1
    assert max(passed) <= burst + now * rate + 1e-6
