"""What peers call is run: who may, with which deadline, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from keynet.errors import ConfigError, ConnectionLost, KeynetError, LocalProtocolError, RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.access import AllowCalls, CallAccess
from keynet.rpc.api import Call, Exchange, Proceed
from keynet.rpc.dispatch import DENIED, FAILED, Dispatcher
from keynet.rpc.limits import Limits
from keynet.rpc.service import Service
from keynet.rpc.status import MAX_DETAILS, MAX_MESSAGE, Status, rpc_error
from keynet.testing.clock import START, Deadlock, run
from tests.unit.rpc.memory import new_peer

PEER, OTHER = new_peer(), new_peer()
NO_PARAMS = SimpleNamespace(__struct_fields__=())
SECRET = "the secret that no peer may see"

Act = Callable[[Call], Awaitable[object]]


def dispatcher(act: Act, **options: Any) -> Dispatcher:
    """One with a unary `s.act`, which anybody may call."""
    service = Service("s")

    @service.method
    async def act_(call: Call) -> Any:
        return await act(call)

    return Dispatcher([service], access=CallAccess(anyone=True), **options)


async def call(
    to: Dispatcher, name: str = "s.act_", peer: PeerIdentity = PEER, **options: Any
) -> Any:
    with to.admit(name, peer, binding="test", **options) as admitted:
        return await to.run(admitted, NO_PARAMS)


@contextlib.contextmanager
def ends_with(status: Status, words: str = "") -> Iterator[None]:
    with pytest.raises(RpcError) as caught:
        yield
    assert (Status(caught.value.status), words in caught.value.message) == (status, True), (
        f"{Status(caught.value.status).name}: {caught.value.message}"
    )


async def forever(_: Call) -> None:
    await asyncio.Event().wait()


async def at_once(_: Call) -> str:
    return "done"


async def settled() -> None:
    """Give what was cancelled time to end."""
    await asyncio.sleep(0.01)


class Stubborn:
    """A function that ignores its cancellation for a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ended = False

    async def __call__(self, _: Call) -> None:
        until = asyncio.get_running_loop().time() + self.seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        self.ended = True


def test_calls_are_counted_by_binding() -> None:
    async def program() -> None:
        to = dispatcher(at_once, limits=Limits(max_calls=1))
        await call(to)
        with to.admit("s.act_", PEER, binding="other"), ends_with(Status.RESOURCE_EXHAUSTED):
            await call(to)
        with ends_with(Status.UNIMPLEMENTED):
            await call(to, "s.nothing")
        assert to.admitted == {"test": 1, "other": 1}
        assert to.refused == {"test": 2}

    run(program())


class TestAnswers:
    def test_a_function_gets_its_parameters_and_its_call(self) -> None:
        service = Service("s")
        seen: list[Call] = []

        @service.method
        async def f(a: int, call: Call, *, b: str = "b") -> str:
            seen.append(call)
            return f"{a}{b}"

        async def program() -> None:
            to = Dispatcher([service], access=CallAccess(anyone=True))
            with to.admit("s.f", PEER, binding="test", metadata=(("k", "v"),)) as admitted:
                assert await to.run(admitted, f.params(a=1)) == "1b"
            assert seen == [admitted]
            assert (admitted.peer, admitted.metadata, admitted.binding, admitted.method) == (
                *(PEER, (("k", "v"),), "test"),
                f,
            )

        run(program())

    def test_a_call_runs_once_inside_its_context(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once)
            with to.admit("s.act_", PEER, binding="test") as admitted:
                assert await to.run(admitted, NO_PARAMS) == "done"
                with pytest.raises(LocalProtocolError):
                    await to.run(admitted, NO_PARAMS)
            with pytest.raises(LocalProtocolError):
                await to.run(admitted, NO_PARAMS)

        run(program())

    def test_services_come_and_go(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once)
            with pytest.raises(ConfigError, match="already"):
                to.add(Service("s"))
            to.remove("s")
            with ends_with(Status.UNIMPLEMENTED, "no method s.act_"):
                await call(to)
            with pytest.raises(ConfigError, match="no service s"):
                to.remove("s")

        run(program())

    def test_methods_of_a_served_service_may_be_added_later(self) -> None:
        async def program() -> None:
            service = Service("s")
            to = Dispatcher([service], access=CallAccess(anyone=True))

            @service.method
            async def late() -> int:
                return 1

            assert await call(to, "s.late") == 1

        run(program())


class TestErrors:
    def test_an_rpc_error_passes_with_its_details(self) -> None:
        async def act(_: Call) -> None:
            raise rpc_error(Status.NOT_FOUND, "no such thing", b"details")

        async def program() -> None:
            with ends_with(Status.NOT_FOUND, "no such thing"):
                await call(dispatcher(act))

        run(program())

    def test_an_rpc_error_made_by_hand_is_bounded_and_printable(self) -> None:
        async def act(_: Call) -> None:
            raise RpcError(Status.ABORTED, "\x1b[31m\n" + "x" * 100_000, b"d" * 100_000)

        async def program() -> None:
            with pytest.raises(RpcError) as caught:
                await call(dispatcher(act))
            assert len(caught.value.message) <= MAX_MESSAGE
            assert caught.value.message.isprintable()
            assert len(caught.value.details) == MAX_DETAILS

        run(program())

    @pytest.mark.parametrize(
        "error",
        [
            ValueError(SECRET),
            TimeoutError(SECRET),
            KeynetError(SECRET),
            ConnectionLost(SECRET),
            asyncio.CancelledError(SECRET),
            StopAsyncIteration(SECRET),
            RpcError(0, SECRET),
            RpcError(99, SECRET),
            RpcError(5, None),  # type: ignore[arg-type]
            RpcError(5, SECRET, "text"),  # type: ignore[arg-type]
        ],
        ids=repr,
    )
    def test_whatever_else_is_internal_and_told_to_the_log_alone(
        self, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def act(_: Call) -> None:
            raise error

        async def program() -> None:
            with ends_with(Status.INTERNAL, FAILED):
                await call(dispatcher(act))

        run(program())
        assert len(caplog.records) == 1
        assert caplog.records[0].exc_info is not None
        assert "s.act_" in caplog.text
        assert PEER.node_id.short in caplog.text

    @pytest.mark.parametrize("value", ["two\nlines", 5])
    def test_a_wrong_reply_metadata_is_left_out(
        self, value: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def act(call: Call) -> str:
            call.reply_metadata.append(("key", value))
            return "done"

        async def program() -> None:
            to = dispatcher(act)
            with to.admit("s.act_", PEER, binding="test") as admitted:
                assert await to.run(admitted, NO_PARAMS) == "done"
            assert admitted.reply_metadata == []

        run(program())
        assert "left out" in caplog.text


class TestDeadlines:
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [(None, 15.0), (3.0, 3.0), (20.0, 20.0), (1e9, 900.0), (math.inf, 900.0)],
    )
    def test_the_lower_of_both_ends_counts(self, asked: float | None, expected: float) -> None:
        async def program() -> None:
            loop = asyncio.get_running_loop()
            before = loop.time()
            to = dispatcher(forever)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, timeout=asked)
            assert loop.time() - before == pytest.approx(expected)
            await settled()
            assert to.calls == 0

        run(program())

    def test_streams_have_none_unless_asked_or_set(self) -> None:
        service = Service("s")

        @service.method
        async def stream() -> AsyncIterator[int]:
            yield 1

        async def deadline(limits: Limits, asked: float | None) -> float | None:
            to = Dispatcher([service], access=CallAccess(anyone=True), limits=limits)
            with to.admit("s.stream", PEER, binding="test", timeout=asked) as admitted:
                return admitted.remaining(asyncio.get_running_loop().time())

        async def program() -> None:
            assert await deadline(Limits(), None) is None
            assert await deadline(Limits(), math.inf) is None
            assert await deadline(Limits(), 5.0) == 5.0
            assert await deadline(Limits(max_stream_timeout=2.0), None) == 2.0
            assert await deadline(Limits(max_stream_timeout=2.0), 5.0) == 2.0

        run(program())

    @pytest.mark.parametrize("timeout", [0.0, -1.0, -math.inf])
    def test_a_call_that_is_late_already_does_not_begin(self, timeout: float) -> None:
        begun: list[Call] = []

        async def act(call: Call) -> None:
            begun.append(call)

        async def program() -> None:
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(dispatcher(act), timeout=timeout)

        run(program())
        assert begun == []

    def test_a_timeout_that_is_no_number_is_refused(self) -> None:
        async def program() -> None:
            with ends_with(Status.INVALID_ARGUMENT, "number of seconds"):
                await call(dispatcher(at_once), timeout=math.nan)

        run(program())

    def test_the_function_is_cancelled(self) -> None:
        cleaned: list[str] = []

        async def act(_: Call) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append("up")

        async def program() -> None:
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(dispatcher(act), timeout=1.0)
            await asyncio.sleep(0)
            assert cleaned == ["up"]

        run(program())

    def test_a_function_that_ignores_it_holds_up_nobody_and_still_counts(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def program() -> None:
            loop = asyncio.get_running_loop()
            before, stubborn = loop.time(), Stubborn(60.0)
            to = dispatcher(stubborn, limits=Limits(max_calls=1))
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, timeout=1.0)
            assert loop.time() - before == pytest.approx(1.0)
            with ends_with(Status.RESOURCE_EXHAUSTED):
                await call(to)
            await asyncio.sleep(2.0)
            assert "ignores that it was cancelled" in caplog.text
            assert not stubborn.ended
            await asyncio.sleep(60.0)
            assert stubborn.ended
            assert to.calls == 0

        run(program())

    def test_one_that_cleans_up_quickly_is_not_complained_of(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def program() -> None:
            to = dispatcher(Stubborn(1.5))
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, timeout=1.0)
            await asyncio.sleep(10.0)

        run(program())
        assert caplog.text == ""

    @pytest.mark.parametrize("how", ["done", "cancelled"])
    def test_a_call_that_is_over_leaves_no_timer(self, how: str) -> None:
        async def program() -> None:
            to = dispatcher(at_once if how == "done" else forever)
            task = asyncio.create_task(call(to))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.Event().wait()  # with a timer left, time would pass before the deadlock

        with pytest.raises(Deadlock, match=rf"at {START:.3f}"):
            run(program())


class TestCancelling:
    def test_reaches_the_function_and_frees_the_slot(self) -> None:
        cancelled: list[str] = []

        async def act(call: Call) -> None:
            try:
                await forever(call)
            except asyncio.CancelledError:
                cancelled.append("yes")
                raise

        async def program() -> None:
            to = dispatcher(act)
            task = asyncio.create_task(call(to))
            await asyncio.sleep(1.0)
            assert to.calls == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled()
            assert cancelled == ["yes"]
            assert to.calls == 0

        run(program())

    def test_before_the_function_has_begun(self) -> None:
        async def program() -> None:
            to = dispatcher(forever)
            task = asyncio.create_task(call(to))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled()
            assert to.calls == 0

        run(program())

    def test_in_the_moment_in_which_the_function_ends_frees_one_slot(self) -> None:
        async def program() -> None:
            told = asyncio.Event()

            async def act(_: Call) -> None:
                await told.wait()

            to = dispatcher(act)
            with to.admit("s.act_", PEER, binding="another"):
                task = asyncio.create_task(call(to))
                await settled()
                told.set()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await settled()
                assert to.calls == 1

        run(program())

    def test_what_the_function_raises_then_is_logged_and_nobodys(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def act(call: Call) -> None:
            try:
                await forever(call)
            finally:
                raise ValueError(SECRET)

        async def program() -> None:
            to = dispatcher(act)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, timeout=1.0)
            await settled()
            assert to.calls == 0

        run(program())
        assert SECRET in caplog.text

    def test_a_context_left_without_running_frees_the_slot(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once)
            with to.admit("s.act_", PEER, binding="test"):
                assert to.calls == 1
            assert to.calls == 0

        run(program())


class TestLimits:
    def test_calls_in_all(self) -> None:
        async def program() -> None:
            to = dispatcher(forever, limits=Limits(max_calls=2))
            tasks = [asyncio.create_task(call(to, peer=peer)) for peer in (PEER, OTHER)]
            await asyncio.sleep(0)
            with ends_with(Status.RESOURCE_EXHAUSTED, "2 calls"):
                await call(to, peer=new_peer())
            await asyncio.gather(*tasks, return_exceptions=True)
            assert to.calls == 0

        run(program())

    def test_strangers_cannot_keep_out_those_whom_the_owner_lets_in(self) -> None:
        async def program() -> None:
            service = Service("open", public=True)

            @service.method
            async def hang() -> None:
                await asyncio.Event().wait()

            access = CallAccess([AllowCalls(PEER.node_id, None)])
            limits = Limits(max_calls=3, max_strangers_calls=2)
            to = Dispatcher([service], access=access, limits=limits)
            tasks = [
                asyncio.create_task(call(to, "open.hang", new_peer(), timeout=9)) for _ in range(2)
            ]
            await asyncio.sleep(0)
            with ends_with(Status.RESOURCE_EXHAUSTED, "2 calls"):
                await call(to, "open.hang", new_peer())
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, "open.hang", PEER, timeout=1.0)
            await asyncio.gather(*tasks, return_exceptions=True)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, "open.hang", new_peer(), timeout=1.0)

        run(program())

    def test_calls_of_one_peer_disturb_no_other(self) -> None:
        async def program() -> None:
            to = dispatcher(forever, limits=Limits(max_calls_per_peer=1))
            task = asyncio.create_task(call(to))
            await asyncio.sleep(0)
            with ends_with(Status.RESOURCE_EXHAUSTED, "one node"):
                await call(to)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, peer=OTHER, timeout=1.0)
            await asyncio.gather(task, return_exceptions=True)

        run(program())

    def test_public_services_are_limited_in_rate_and_say_when_to_try_again(self) -> None:
        service = Service("open", public=True)

        @service.method
        async def ping() -> int:
            return 1

        async def program() -> None:
            limits = Limits(public_rate=2.0, public_burst=3)
            to = Dispatcher([service], limits=limits)
            for _ in range(3):
                assert await call(to, "open.ping") == 1
            with ends_with(Status.RESOURCE_EXHAUSTED, "try again in 0.500 s"):
                await call(to, "open.ping")
            with ends_with(Status.RESOURCE_EXHAUSTED):
                await call(to, "open.nothing")
            assert await call(to, "open.ping", OTHER) == 1
            await asyncio.sleep(0.5)
            assert await call(to, "open.ping") == 1

        run(program())

    def test_the_owner_is_not_limited_in_rate(self) -> None:
        service = Service("open", public=True)

        @service.method
        async def ping() -> int:
            return 1

        async def program() -> None:
            access = CallAccess(owner=PEER.node_id)
            to = Dispatcher([service], access=access, limits=Limits(public_burst=1))
            for _ in range(10):
                assert await call(to, "open.ping") == 1

        run(program())

    def test_what_was_taken_and_refused_is_counted(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once, limits=Limits(max_calls=1))
            assert [service.name for service in to.services] == ["s"]
            with to.admit("s.act_", PEER, binding="other"), ends_with(Status.RESOURCE_EXHAUSTED):
                await call(to)
            with ends_with(Status.UNIMPLEMENTED):
                await call(to, "s.nothing")
            await call(to)
            assert to.admitted == {"other": 1, "test": 1}
            assert to.refused == {"test": 2}

        run(program())

    def test_bad_metadata_is_refused(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once)
            with ends_with(Status.INVALID_ARGUMENT, "metadata key"):
                await call(to, metadata=(("Key", "value"),))
            assert to.calls == 0

        run(program())


class TestAccess:
    @staticmethod
    def served(access: CallAccess) -> Dispatcher:
        services = [Service("shut"), Service("open", public=True)]

        async def one() -> int:
            return 1

        async def two() -> int:
            return 2

        for service in services:
            service.method(one)
            service.method(two)
        return Dispatcher(services, access=access)

    def test_strangers_learn_of_public_methods_only(self) -> None:
        async def program() -> None:
            to = self.served(CallAccess())
            assert await call(to, "open.one") == 1
            for name in ("shut.one", "shut.nothing", "nothing.one", "one", "", ".", "é" * 1000):
                with ends_with(Status.PERMISSION_DENIED, DENIED):
                    await call(to, name)
            with ends_with(Status.UNIMPLEMENTED):
                await call(to, "open.nothing")
            assert [method.full_name for method in to.open_to(PEER)] == ["open.one", "open.two"]

        run(program())

    def test_who_has_a_rule_learns_what_there_is(self) -> None:
        async def program() -> None:
            to = self.served(CallAccess([AllowCalls(PEER.node_id, frozenset({"shut.one"}))]))
            assert await call(to, "shut.one") == 1
            with ends_with(Status.PERMISSION_DENIED, DENIED):
                await call(to, "shut.two")
            for name in ("shut.nothing", "nothing.one", "one", "", "."):
                with ends_with(Status.UNIMPLEMENTED):
                    await call(to, name)
            assert [method.full_name for method in to.open_to(PEER)] == [
                *("shut.one", "open.one", "open.two")
            ]

        run(program())

    def test_rules_change_while_it_runs(self) -> None:
        async def program() -> None:
            to = self.served(CallAccess())
            to.access.allow(AllowCalls(PEER.node_id, None))
            assert await call(to, "shut.two") == 2
            to.access.disallow(PEER.node_id)
            with ends_with(Status.PERMISSION_DENIED):
                await call(to, "shut.two")

        run(program())

    def test_names_of_strangers_are_bounded_in_what_is_said(self) -> None:
        async def program() -> None:
            to = self.served(CallAccess(anyone=True))
            with pytest.raises(RpcError) as caught:
                await call(to, "\x1b\n" * 10_000)
            assert len(caught.value.message) <= MAX_MESSAGE
            assert caught.value.message.isprintable()

        run(program())


class TestForeignMethods:
    """Methods that a binding serves by itself are behind the same rules and limits."""

    @staticmethod
    def admit(to: Dispatcher, name: str = "pkg.Greeter.SayHello") -> None:
        with to.admit_foreign(name, PEER, binding="test") as call:
            assert (call.peer, call.method.full_name, call.deadline) == (PEER, name, None)
            assert to.calls == 1
        assert to.calls == 0

    def test_are_open_to_whom_a_rule_names(self) -> None:
        async def program() -> None:
            to = Dispatcher(access=CallAccess())
            with ends_with(Status.PERMISSION_DENIED, DENIED):
                self.admit(to)
            to.access.allow(AllowCalls(PEER.node_id, frozenset({"pkg.Greeter"})))
            self.admit(to)
            with ends_with(Status.PERMISSION_DENIED, DENIED):
                self.admit(to, "pkg.Other.SayHello")
            await to.aclose()
            with ends_with(Status.UNAVAILABLE):
                self.admit(to)

        run(program())

    def test_count(self) -> None:
        async def program() -> None:
            to = Dispatcher(access=CallAccess(anyone=True), limits=Limits(max_calls=1))
            with (
                to.admit_foreign("a.b", PEER, binding="test"),
                ends_with(Status.RESOURCE_EXHAUSTED),
            ):
                self.admit(to)

        run(program())

    @pytest.mark.parametrize("name", ["", "b", "a.", "a." + "b" * 1000])
    def test_have_names(self, name: str) -> None:
        async def program() -> None:
            with ends_with(Status.UNIMPLEMENTED):
                self.admit(Dispatcher(access=CallAccess(anyone=True)), name)

        run(program())


class TestStreams:
    def served(self, function: Callable[..., Any]) -> Dispatcher:
        service = Service("s")
        service.method(function)
        return Dispatcher([service], access=CallAccess(anyone=True))

    async def stream(
        self, to: Dispatcher, name: str, requests: Any = None, send: Any = None, **options: Any
    ) -> Any:
        with to.admit(f"s.{name}", PEER, binding="test", **options) as admitted:
            return await to.run(admitted, NO_PARAMS, requests, send)

    def test_items_are_sent_one_after_another(self) -> None:
        async def count() -> AsyncIterator[int]:
            for n in range(3):
                yield n

        sent: list[int] = []

        async def send(item: int) -> None:
            await asyncio.sleep(1.0)
            sent.append(item)

        async def program() -> None:
            assert await self.stream(self.served(count), "count", send=send) is None
            assert sent == [0, 1, 2]

        run(program())

    def test_an_iterator_that_is_no_generator_will_do(self) -> None:
        class Countdown:
            def __init__(self) -> None:
                self.left = 2

            def __aiter__(self) -> Countdown:
                return self

            async def __anext__(self) -> int:
                if not self.left:
                    raise StopAsyncIteration
                self.left -= 1
                return self.left

        def count() -> AsyncIterator[int]:
            return Countdown()

        sent: list[int] = []

        async def send(item: int) -> None:
            sent.append(item)

        async def program() -> None:
            await self.stream(self.served(count), "count", send=send)
            assert sent == [1, 0]

        run(program())

    @pytest.mark.parametrize("where", ["between items", "in send"])
    def test_a_generator_is_closed_when_the_call_ends_early(self, where: str) -> None:
        closed: list[str] = []

        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    if where == "between items":
                        await asyncio.Event().wait()
            finally:
                closed.append("yes")

        async def send(item: int) -> None:
            if where == "in send":
                await asyncio.Event().wait()

        async def program() -> None:
            to = self.served(endless)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await self.stream(to, "endless", send=send, timeout=1.0)
            await settled()
            assert closed == ["yes"]
            assert to.calls == 0

        run(program())

    def test_a_generator_is_closed_when_sending_fails(self) -> None:
        closed: list[str] = []

        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.append("yes")

        async def send(item: int) -> None:
            raise ConnectionLost("the path died")

        async def program() -> None:
            with ends_with(Status.UNAVAILABLE, "the path died"):
                await self.stream(self.served(endless), "endless", send=send)
            assert closed == ["yes"]

        run(program())

    def test_requests_are_read_or_not(self) -> None:
        async def take(items: AsyncIterator[int]) -> list[int]:
            return [await anext(items), await anext(items)]

        async def ignore(items: AsyncIterator[int]) -> int:
            return 7

        async def numbers() -> AsyncIterator[int]:
            for n in range(1000):
                yield n

        async def program() -> None:
            assert await self.stream(self.served(take), "take", numbers()) == [0, 1]
            unread = numbers()
            assert await self.stream(self.served(ignore), "ignore", unread) == 7
            assert await anext(unread) == 0

        run(program())

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ConnectionLost("the path died"), Status.UNAVAILABLE),
            (rpc_error(Status.INVALID_ARGUMENT, "no number"), Status.INVALID_ARGUMENT),
        ],
    )
    def test_what_breaks_the_requests_ends_the_call(
        self, error: KeynetError, status: Status
    ) -> None:
        async def take(items: AsyncIterator[int]) -> list[int]:
            return [item async for item in items]

        async def broken() -> AsyncIterator[int]:
            yield 1
            raise error

        async def program() -> None:
            with ends_with(status, str(error)):
                await self.stream(self.served(take), "take", broken())

        run(program())

    def test_who_goes_on_after_the_end_can_neither_send_nor_read(self) -> None:
        seen: list[object] = []

        async def stubborn(items: AsyncIterator[int]) -> AsyncIterator[int]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            try:
                await anext(items)
            except RpcError as error:
                seen.append(error.message)
            yield 1

        async def numbers() -> AsyncIterator[int]:
            yield 1

        async def send(item: int) -> None:
            seen.append(item)

        async def program() -> None:
            to = self.served(stubborn)
            with ends_with(Status.DEADLINE_EXCEEDED):
                await self.stream(to, "stubborn", numbers(), send, timeout=1.0)
            await asyncio.sleep(1.0)
            assert seen == ["the call is over"]
            assert to.calls == 0

        run(program())


class TestInterceptors:
    def test_stand_around_the_call_the_first_outermost(self) -> None:
        trace: list[str] = []

        def noting(name: str) -> Callable[[Exchange, Proceed], Awaitable[Any]]:
            async def intercept(exchange: Exchange, proceed: Proceed) -> Any:
                trace.append(name)
                result = await proceed(exchange)
                trace.append(name.upper())
                return f"{result}{name}"

            return intercept

        async def program() -> None:
            to = dispatcher(at_once, interceptors=[noting("a"), noting("b")])
            assert await call(to) == "doneba"
            assert trace == ["a", "b", "B", "A"]

        run(program())

    def test_may_replace_what_passes(self) -> None:
        service = Service("s")

        @service.method
        async def double(items: AsyncIterator[int], *, by: int) -> AsyncIterator[int]:
            async for item in items:
                yield item * by

        async def intercept(exchange: Exchange, proceed: Proceed) -> Any:
            requests, send = exchange.requests, exchange.send
            assert requests is not None
            assert send is not None

            async def later() -> AsyncIterator[int]:
                async for item in requests:
                    yield item + 1

            async def labelled(item: int) -> None:
                await send(f"={item}")

            replaced = double.params(by=3)
            return await proceed(Exchange(exchange.call, replaced, later(), labelled))

        sent: list[str] = []

        async def send(item: str) -> None:
            sent.append(item)

        async def numbers() -> AsyncIterator[int]:
            yield 0
            yield 1

        async def program() -> None:
            to = Dispatcher([service], access=CallAccess(anyone=True), interceptors=[intercept])
            with to.admit("s.double", PEER, binding="test") as admitted:
                await to.run(admitted, double.params(by=1), numbers(), send)
            assert sent == ["=3", "=6"]

        run(program())

    def test_refuse_and_see_what_the_method_raised(self) -> None:
        seen: list[BaseException] = []

        async def act(_: Call) -> None:
            raise ValueError(SECRET)

        async def translate(exchange: Exchange, proceed: Proceed) -> Any:
            try:
                return await proceed(exchange)
            except ValueError as error:
                seen.append(error)
                raise rpc_error(Status.OUT_OF_RANGE, "too much") from error

        async def program() -> None:
            with ends_with(Status.OUT_OF_RANGE, "too much"):
                await call(dispatcher(act, interceptors=[translate]))
            assert str(seen[0]) == SECRET

        run(program())

    def test_one_that_fails_is_internal(self, caplog: pytest.LogCaptureFixture) -> None:
        async def broken(exchange: Exchange, proceed: Proceed) -> Any:
            raise KeyError(SECRET)

        async def program() -> None:
            with ends_with(Status.INTERNAL, FAILED):
                await call(dispatcher(at_once, interceptors=[broken]))

        run(program())
        assert SECRET in caplog.text

    def test_one_that_hangs_is_within_the_deadline(self) -> None:
        async def hanging(exchange: Exchange, proceed: Proceed) -> Any:
            await asyncio.Event().wait()

        async def program() -> None:
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(dispatcher(at_once, interceptors=[hanging]))

        run(program())


class TestShutdown:
    def test_running_calls_have_some_time(self) -> None:
        async def act(_: Call) -> str:
            await asyncio.sleep(3.0)
            return "done"

        async def program() -> None:
            to = dispatcher(act)
            running = asyncio.create_task(call(to))
            await asyncio.sleep(1.0)
            before = asyncio.get_running_loop().time()
            closing = asyncio.create_task(to.aclose(5.0))
            await asyncio.sleep(0)
            with ends_with(Status.UNAVAILABLE, "shutting down"):
                await call(to)
            assert await running == "done"
            await closing
            assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
            await to.aclose()

        run(program())

    def test_then_they_end_with_unavailable(self) -> None:
        cancelled: list[str] = []

        async def act(call: Call) -> None:
            try:
                await forever(call)
            finally:
                cancelled.append("yes")

        async def program() -> None:
            to = dispatcher(act)
            running = [asyncio.create_task(call(to)) for _ in range(10)]
            await asyncio.sleep(0)
            before = asyncio.get_running_loop().time()
            await to.aclose(2.0)
            assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
            for task in running:
                with ends_with(Status.UNAVAILABLE, "shutting down"):
                    await task
            assert len(cancelled) == 10
            assert to.calls == 0

        run(program())

    def test_a_call_that_was_admitted_but_has_not_begun_never_does(self) -> None:
        async def program() -> None:
            to = dispatcher(at_once)
            with to.admit("s.act_", PEER, binding="test") as admitted:
                await to.aclose(0.0)
                with ends_with(Status.UNAVAILABLE):
                    await to.run(admitted, NO_PARAMS)

        run(program())

    def test_a_function_that_ignores_it_does_not_hold_it_up(self) -> None:
        async def program() -> None:
            to = dispatcher(Stubborn(60.0))
            running = asyncio.create_task(call(to))
            await asyncio.sleep(0)
            before = asyncio.get_running_loop().time()
            await to.aclose(1.0)
            assert asyncio.get_running_loop().time() - before < 5.0
            with ends_with(Status.UNAVAILABLE):
                await running
            await asyncio.sleep(60.0)
            assert to.calls == 0

        run(program())

    def test_one_binding_drains_and_the_others_go_on(self) -> None:
        async def program() -> None:
            to = dispatcher(forever)
            drained = asyncio.create_task(call(to))
            await asyncio.sleep(0)
            with to.admit("s.act_", OTHER, binding="other"):
                draining = asyncio.create_task(to.drain("test", 1.0))
                await asyncio.sleep(0)
                with ends_with(Status.UNAVAILABLE):
                    await call(to)
                await draining
                with ends_with(Status.UNAVAILABLE):
                    await drained
                assert to.calls == 1
            with ends_with(Status.DEADLINE_EXCEEDED):
                await call(to, timeout=1.0)

        run(program())


def test_the_log_names_a_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    async def act(_: Call) -> None:
        raise ValueError(SECRET)

    async def program() -> None:
        with ends_with(Status.INTERNAL):
            await call(dispatcher(act))

    with caplog.at_level(logging.DEBUG, "keynet"):
        run(program())
    assert caplog.text.count("ValueError: ") == 1
