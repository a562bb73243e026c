"""The four kinds of calls as callers make them, over a dispatcher in memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from keynet.errors import ConfigError, LocalProtocolError, RpcError
from keynet.rpc.access import CallAccess
from keynet.rpc.api import Call, ClientCall, Request, Start
from keynet.rpc.client import Client
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error
from keynet.rpc.streaming import feed
from keynet.testing.clock import START, Deadlock, run
from tests.unit.rpc.memory import MemoryCall, MemoryChannel, new_peer

PEER = new_peer()
service = Service("s")


@service.method
async def add(a: int, b: int = 1) -> int:
    return a + b


@service.method
async def who(call: Call) -> dict[str, str]:
    call.reply_metadata.append(("answer", "yes"))
    return {**dict(call.metadata), "peer": call.peer.node_id.short}


@service.method
async def hang() -> None:
    await asyncio.Event().wait()


@service.method
async def count(to: int, call: Call) -> AsyncIterator[int]:
    for n in range(to):
        yield n
    call.reply_metadata.append(("answer", "yes"))


@service.method
async def fail_after(items: int) -> AsyncIterator[int]:
    for n in range(items):
        yield n
    raise rpc_error(Status.ABORTED, "enough")


@service.method
async def total(numbers: AsyncIterator[int], *, most: int = 1 << 62) -> int:
    sum_ = 0
    async for number in numbers:
        sum_ += number
        if sum_ >= most:
            break
    return sum_


@service.method
async def refuse(numbers: AsyncIterator[int]) -> int:
    raise rpc_error(Status.FAILED_PRECONDITION, "not now")


@service.method
async def double(numbers: AsyncIterator[int], *, by: int = 2) -> AsyncIterator[int]:
    async for number in numbers:
        yield number * by


class World:
    """A client, its channel, and the dispatcher that it leads to."""

    def __init__(self, **options: Any) -> None:
        self.dispatcher = Dispatcher([service], access=CallAccess(anyone=True))
        self.channel = MemoryChannel(self.dispatcher, PEER)
        self.client = Client(self.channel, **options)

    @property
    def last(self) -> MemoryCall:
        return self.channel.calls[-1]

    async def settled(self) -> None:
        """Everything that was cancelled has ended, and nothing runs."""
        await asyncio.sleep(0.01)
        assert self.dispatcher.calls == 0
        assert all(call.over and call.task.done() for call in self.channel.calls)


def play(program: Callable[[World], Awaitable[None]], **options: Any) -> None:
    """Run `program`; afterwards no call may be left."""

    async def whole() -> None:
        world = World(**options)
        await program(world)
        await world.settled()

    run(whole())


@contextlib.contextmanager
def ends_with(status: Status, words: str = "") -> Iterator[None]:
    with pytest.raises(RpcError) as caught:
        yield
    assert (Status(caught.value.status), words in caught.value.message) == (status, True), (
        f"{Status(caught.value.status).name}: {caught.value.message}"
    )


class TestUnary:
    def test_by_method_and_by_name(self) -> None:
        async def program(world: World) -> None:
            assert await world.client.call(add, {"a": 1}) == 2
            assert await world.client.call(add, add.params(a=1, b=2)) == 3
            assert await world.client.call("s.add", {"a": 1, "b": 5}) == 6

        play(program)

    def test_metadata_goes_both_ways(self) -> None:
        async def program(world: World) -> None:
            answer = await world.client.call(who, metadata=(("k", "v"),))
            assert answer == {"k": "v", "peer": PEER.node_id.short}
            assert world.last.reply_metadata == (("answer", "yes"),)

        play(program)

    @pytest.mark.parametrize("params", [{}, {"a": 1, "c": 1}, {"b": 1}])
    def test_wrong_parameters_are_refused_before_anything_is_sent(
        self, params: dict[str, int]
    ) -> None:
        async def program(world: World) -> None:
            with ends_with(Status.INVALID_ARGUMENT, "s.add"):
                await world.client.call(add, params)
            assert world.channel.calls == []

        play(program)

    def test_wrong_values_are_refused_by_the_server(self) -> None:
        async def program(world: World) -> None:
            for method in (add, "s.add"):
                with ends_with(Status.INVALID_ARGUMENT, "Expected `int`, got `str` - at `$.a`"):
                    await world.client.call(method, {"a": "1"})

        play(program)

    @pytest.mark.parametrize("params", [[1], 1, count.params(to=1)])
    def test_parameters_have_names(self, params: Any) -> None:
        async def program(world: World) -> None:
            with pytest.raises(ConfigError, match="by name"):
                await world.client.call(add, params)

        play(program)

    def test_bad_metadata_names_and_options_are_mistakes(self) -> None:
        async def program(world: World) -> None:
            with pytest.raises(ConfigError, match="metadata key"):
                await world.client.call(add, {"a": 1}, metadata=(("K", "v"),))
            with pytest.raises(ConfigError, match="is named"):
                await world.client.call("add", {"a": 1})
            for timeout in (float("inf"), float("nan")):
                with pytest.raises(ConfigError, match="number of seconds"):
                    await world.client.call(add, {"a": 1}, timeout=timeout)
            with pytest.raises(TypeError, match="timout"):
                await world.client.call(add, {"a": 1}, timout=1.0)  # type: ignore[call-overload]
            assert world.channel.calls == []

        play(program)

    def test_has_15_seconds_and_sends_them_along(self) -> None:
        async def program(world: World) -> None:
            before = asyncio.get_running_loop().time()
            with ends_with(Status.DEADLINE_EXCEEDED):
                await world.client.call(hang)
            assert asyncio.get_running_loop().time() - before == pytest.approx(15.0)
            assert world.last.request.timeout == 15.0

        play(program)

    def test_cancelling_the_task_cancels_at_the_peer(self) -> None:
        async def program(world: World) -> None:
            task = asyncio.create_task(world.client.call(hang))
            await asyncio.sleep(1.0)
            assert world.dispatcher.calls == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        play(program)

    def test_closing_the_client_ends_its_calls(self) -> None:
        async def program(world: World) -> None:
            async with world.client:
                task = asyncio.create_task(world.client.call(hang))
                await asyncio.sleep(1.0)
            with ends_with(Status.CANCELLED):
                await task

        play(program)

    def test_a_peer_that_is_not_reached(self) -> None:
        async def program(world: World) -> None:
            world.channel.refusal = rpc_error(Status.UNAVAILABLE, "no path")
            with ends_with(Status.UNAVAILABLE, "no path"):
                await world.client.call(hang)

        play(program)


class TestDeadlines:
    def test_connecting_counts(self) -> None:
        async def program(world: World) -> None:
            world.channel.delay = 4.0
            before = asyncio.get_running_loop().time()
            with ends_with(Status.DEADLINE_EXCEEDED):
                await world.client.call(hang, timeout=3.0)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await world.client.call(hang, timeout=5.0)
            assert asyncio.get_running_loop().time() - before == pytest.approx(8.0)

        play(program)

    def test_of_a_stream_comes_also_to_who_does_not_read(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(count, {"to": 9}, timeout=2.0) as numbers:
                assert await anext(numbers) == 0
                await asyncio.sleep(3.0)
                assert world.last.over
                with ends_with(Status.DEADLINE_EXCEEDED):
                    async for _ in numbers:
                        pass

        play(program)

    def test_holds_when_the_server_has_another_mind(self) -> None:
        async def program(world: World) -> None:
            call = await world.client.start(Request(hang, hang.params(), (), 2.0))
            world.last._dispatcher = world.dispatcher
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call.result()

        play(program)

    def test_does_not_hide_how_the_call_ended_before(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(fail_after, {"items": 1}, timeout=2.0) as items:
                assert await anext(items) == 0
                with ends_with(Status.ABORTED, "enough"):
                    await anext(items)
                await asyncio.sleep(3.0)
                with ends_with(Status.ABORTED, "enough"):
                    await anext(items)

        play(program)

    def test_does_not_hide_how_it_ended_from_who_reads_late(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(fail_after, {"items": 0}, timeout=2.0) as items:
                await asyncio.sleep(3.0)
                with ends_with(Status.ABORTED, "enough"):
                    await anext(items)

        play(program)

    @pytest.mark.parametrize("how", ["result", "end", "error", "cancel"])
    def test_a_call_that_is_over_leaves_no_timer(self, how: str) -> None:
        async def program(world: World) -> None:
            method, params = {
                "result": (add, {"a": 1}),
                "end": (count, {"to": 0}),
                "error": (fail_after, {"items": 0}),
                "cancel": (hang, {}),
            }[how]
            call = await world.client.start(Request(method, method.params(**params), (), 5.0))
            with contextlib.suppress(RpcError, StopAsyncIteration):
                if how == "result":
                    await call.result()
                elif how == "cancel":
                    call.cancel()
                else:
                    await call.receive()
            await asyncio.Event().wait()  # with a timer left, time would pass before the deadlock

        with pytest.raises(Deadlock, match=rf"at {START:.3f}"):
            play(program)


class TestServerStream:
    def test_iterating(self) -> None:
        async def program(world: World) -> None:
            stream = world.client.server_stream(count, {"to": 3})
            assert stream.reply_metadata == ()
            assert [n async for n in stream] == [0, 1, 2]
            assert stream.reply_metadata == (("answer", "yes"),)
            assert [n async for n in world.client.server_stream("s.count", {"to": 2})] == [0, 1]

        play(program)

    def test_nothing_is_called_before_the_first_item_is_asked_for(self) -> None:
        async def program(world: World) -> None:
            stream = world.client.server_stream(count, {"to": 3})
            await asyncio.sleep(1.0)
            assert world.channel.calls == []
            stream.cancel()
            with ends_with(Status.CANCELLED, "before the call began"):
                await anext(stream)
            assert world.channel.calls == []

        play(program)

    def test_cancelling_while_it_begins(self) -> None:
        async def program(world: World) -> None:
            world.channel.delay = 1.0
            stream = world.client.server_stream(count, {"to": 1000})
            first = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
            await asyncio.sleep(0.5)
            stream.cancel()
            with ends_with(Status.CANCELLED):
                await first

        play(program)

    def test_leaving_the_loop_early_cancels(self) -> None:
        async def program(world: World) -> None:
            async for n in world.client.server_stream(count, {"to": 1000}):
                if n == 3:
                    break
            await asyncio.sleep(0.01)
            assert world.last.over

        play(program)

    def test_leaving_the_context_cancels_and_loops_within_do_not(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(count, {"to": 1000}) as numbers:
                async for n in numbers:
                    if n == 1:
                        break
                assert await anext(numbers) == 2
                assert not world.last.over
            assert world.last.over

        play(program)

    def test_closing_the_iterator_cancels(self) -> None:
        async def program(world: World) -> None:
            stream = world.client.server_stream(count, {"to": 1000})
            async with aclosing(aiter(stream)) as numbers:  # type: ignore[type-var]
                assert await anext(numbers) == 0
            assert world.last.over

        play(program)

    def test_an_exception_in_the_loop_cancels(self) -> None:
        async def program(world: World) -> None:
            async def leave() -> None:
                async for _ in world.client.server_stream(count, {"to": 1000}):
                    raise ValueError("mine")

            with pytest.raises(ValueError, match="mine"):
                await leave()
            await asyncio.sleep(0.01)
            assert world.last.over

        play(program)

    def test_ends_with_the_status_of_the_method(self) -> None:
        async def program(world: World) -> None:
            got = []
            with ends_with(Status.ABORTED, "enough"):
                async for n in world.client.server_stream(fail_after, {"items": 2}):
                    got.append(n)  # noqa: PERF401 - the loop raises
            assert got == [0, 1]

        play(program)

    def test_has_no_deadline_of_its_own(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(count, {"to": 3}) as numbers:
                assert await anext(numbers) == 0
                await asyncio.sleep(1000.0)
                assert [n async for n in numbers] == [1, 2]

        play(program)

    def test_cancelling_ends_it(self) -> None:
        async def program(world: World) -> None:
            async with world.client.server_stream(count, {"to": 1000}) as numbers:
                assert await anext(numbers) == 0
                numbers.cancel()
                with ends_with(Status.CANCELLED):
                    async for _ in numbers:
                        pass

        play(program)


class TestClientStream:
    def test_any_iterable_will_do(self) -> None:
        async def generated() -> AsyncIterator[int]:
            for n in range(4):
                await asyncio.sleep(1.0)
                yield n

        async def program(world: World) -> None:
            for items in ([0, 1, 2, 3], range(4), iter(range(4)), generated()):
                assert await world.client.client_stream(total, items) == 6
            assert await world.client.client_stream("s.total", range(4), {"most": 1}) == 1

        play(program)

    def test_an_early_answer_ends_the_sending(self) -> None:
        async def program(world: World) -> None:
            assert await world.client.client_stream(total, itertools.count(), {"most": 10}) == 10

        play(program)

    def test_an_early_error_ends_the_sending(self) -> None:
        closed: list[str] = []

        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.append("yes")

        async def program(world: World) -> None:
            with ends_with(Status.FAILED_PRECONDITION, "not now"):
                await world.client.client_stream(refuse, endless())
            with ends_with(Status.FAILED_PRECONDITION, "not now"):
                await world.client.client_stream(refuse, itertools.count())
            await asyncio.sleep(0.01)
            assert closed == ["yes"]

        play(program)

    @pytest.mark.parametrize("failing", ["async", "plain"])
    def test_what_the_items_raise_is_raised_and_the_call_cancelled(self, failing: str) -> None:
        def broken() -> Iterator[int]:
            yield 1
            raise ValueError("mine")

        async def async_broken() -> AsyncIterator[int]:
            for n in broken():
                yield n

        async def program(world: World) -> None:
            with pytest.raises(ValueError, match="mine"):
                await world.client.client_stream(
                    total, async_broken() if failing == "async" else broken()
                )
            assert world.last.over
            assert not world.last.finished_sending

        play(program)

    def test_cancelling_the_task_closes_the_items_and_the_call(self) -> None:
        closed: list[str] = []

        async def slow() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(1.0)
            finally:
                closed.append("yes")

        async def program(world: World) -> None:
            task = asyncio.create_task(world.client.client_stream(total, slow()))
            await asyncio.sleep(2.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.01)
            assert closed == ["yes"]

        play(program)

    def test_items_that_fail_when_closed_do_not_hide_that_the_task_was_cancelled(self) -> None:
        async def sulking() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(1.0)
            finally:
                raise ValueError("mine")

        async def program(world: World) -> None:
            task = asyncio.create_task(world.client.client_stream(total, sulking()))
            await asyncio.sleep(2.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        play(program)

    def test_others_have_their_turn_while_plain_items_are_sent(self) -> None:
        class Greedy:
            """A call that always has room, and has its result in one moment."""

            async def send(self, item: Any) -> None: ...

            async def finish_sending(self) -> None: ...

            async def result(self) -> str:
                await asyncio.sleep(0)
                return "done"

            def cancel(self) -> None: ...

        async def program() -> None:
            items = iter(range(100_000))
            call: Any = Greedy()
            assert await feed(call, items) == "done"
            assert next(items) < 1000

        run(program())

    def test_its_deadline(self) -> None:
        async def program(world: World) -> None:
            async def slow() -> AsyncIterator[int]:
                while True:
                    yield 1
                    await asyncio.sleep(1.0)

            with ends_with(Status.DEADLINE_EXCEEDED):
                await world.client.client_stream(total, slow(), timeout=2.5)

        play(program)


class TestDuplex:
    def test_both_sides_stream(self) -> None:
        async def program(world: World) -> None:
            async with world.client.duplex(double, {"by": 3}) as call:
                for n in range(3):
                    await call.send(n)
                    assert await anext(call) == n * 3
                await call.finish_sending()
                await call.finish_sending()
                assert [item async for item in call] == []

        play(program)

    def test_one_task_sends_while_another_receives(self) -> None:
        async def program(world: World) -> None:
            async with world.client.duplex("s.double") as call:

                async def send() -> None:
                    for n in range(100):
                        await call.send(n)
                    await call.finish_sending()

                sending = asyncio.create_task(send())
                assert [item async for item in call] == [n * 2 for n in range(100)]
                await sending

        play(program)

    def test_leaving_early_cancels_and_later_sends_are_in_vain(self) -> None:
        async def program(world: World) -> None:
            async with world.client.duplex(double) as call:
                await call.send(1)
                async for item in call:
                    assert item == 2
                    break
                await call.send(2)
                assert await anext(call) == 4
            assert world.last.over
            await call.send(1)

        play(program)

    def test_sending_needs_a_call(self) -> None:
        async def program(world: World) -> None:
            call = world.client.duplex(double)
            with pytest.raises(LocalProtocolError, match="async with"):
                await call.send(1)

        play(program)


class TestKinds:
    def test_the_wrong_verb_is_a_mistake(self) -> None:
        async def program(world: World) -> None:
            client: Any = world.client
            for method in (count, total, double):
                with pytest.raises(ConfigError, match="not unary"):
                    await client.call(method)
            for method in (add, total, double):
                with pytest.raises(ConfigError, match="not server_stream"):
                    client.server_stream(method)
            for method in (add, count, double):
                with pytest.raises(ConfigError, match="not client_stream"):
                    await client.client_stream(method, [])
            for method in (add, count, total):
                with pytest.raises(ConfigError, match="not duplex"):
                    client.duplex(method)
            assert world.channel.calls == []

        play(program)


class TestInterceptors:
    def test_the_first_is_outermost_and_may_change_the_request(self) -> None:
        trace: list[str] = []

        def adding(name: str) -> Callable[[Request, Start], Awaitable[ClientCall]]:
            async def intercept(request: Request, start: Start) -> ClientCall:
                trace.append(name)
                return await start(replace(request, metadata=(*request.metadata, (name, "here"))))

            return intercept

        async def program(world: World) -> None:
            answer = await world.client.call(who, metadata=(("mine", "too"),))
            assert list(answer) == ["mine", "a", "b", "peer"]
            assert trace == ["a", "b"]

        play(program, interceptors=[adding("a"), adding("b")])

    def test_may_set_a_timeout_which_then_counts(self) -> None:
        async def hasten(request: Request, start: Start) -> ClientCall:
            await asyncio.sleep(1.0)
            return await start(replace(request, timeout=2.0))

        async def program(world: World) -> None:
            before = asyncio.get_running_loop().time()
            with ends_with(Status.DEADLINE_EXCEEDED):
                async for _ in world.client.server_stream(count, {"to": 10}):
                    await asyncio.sleep(0.3)
            assert asyncio.get_running_loop().time() - before < 2.6
            assert world.last.request.timeout == pytest.approx(1.0)

        play(program, interceptors=[hasten])

    def test_one_that_hangs_is_within_the_timeout(self) -> None:
        async def hanging(request: Request, start: Start) -> ClientCall:
            await asyncio.Event().wait()
            raise NotImplementedError

        async def program(world: World) -> None:
            with ends_with(Status.DEADLINE_EXCEEDED):
                await world.client.call(add, {"a": 1})

        play(program, interceptors=[hanging])

    def test_may_refuse_and_try_again(self) -> None:
        async def stubborn(request: Request, start: Start) -> ClientCall:
            try:
                return await start(request)
            except RpcError:
                world.channel.refusal = None
                return await start(request)

        async def whole() -> None:
            world.channel.refusal = rpc_error(Status.UNAVAILABLE, "not yet")
            assert await world.client.call(add, {"a": 1}) == 2
            await world.settled()

        world = World(interceptors=[stubborn])
        run(whole())
