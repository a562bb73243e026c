"""The shell around one engine: opening, accepting, losing, blocking, closing under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keynet.errors import ClosedError, ConnectionLost, KeynetError, LocallyClosed
from keynet.testing.clock import run
from keynet.testing.link import LinkModel
from keynet.testing.transport.hosts import Hosts, hosts
from keynet.testing.transport.scene import payload
from keynet.transport.connection import Connection
from keynet.transport.stream import Stream
from keynet.transport.utp import transport
from tests.unit.transport.test_stream import read_all

Program = Callable[[Hosts, Connection, Connection], Awaitable[None]]


def between_connections(program: Program, link: LinkModel | None = None) -> None:
    """Run a program with both ends of a connection whose first stream has been accepted."""

    async def whole() -> None:
        async with hosts(transport, link) as both:
            here, there = await both.streams()
            await program(both, here.connection, there.connection)

    run(whole())


class TestOpening:
    def test_streams_run_beside_each_other(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            async def answer() -> None:
                stream = await there.accept_stream()
                stream.write(await read_all(stream))
                stream.write_eof()

            async def ask(n: int) -> None:
                stream = await here.open_stream()
                data = payload(200_000, n)
                stream.write(data)
                stream.write_eof()
                assert await read_all(stream) == data

            await asyncio.gather(*(ask(n) for n in range(20)), *(answer() for _ in range(20)))
            await asyncio.sleep(5)
            assert here.stream_count == there.stream_count == 1

        between_connections(program, LinkModel(latency=0.01, loss=0.01))

    def test_opening_may_be_cancelled_at_any_moment(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            for moment in range(40):
                opening = asyncio.create_task(here.open_stream())
                await asyncio.sleep(moment * 0.002)
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
                if not opening.cancelled():
                    opening.result().reset()
            await asyncio.sleep(1)
            assert here.stream_count == 1
            assert there.stream_count == 1

        between_connections(program)

    def test_a_cancel_and_the_answer_may_come_in_one_turn(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            for _attempt in range(3):
                opening = asyncio.create_task(here.open_stream())
                established = here._stream_established

                def both(
                    stream_id: int,
                    opening: asyncio.Task[Stream] = opening,
                    established: Callable[[int], None] = established,
                ) -> None:
                    established(stream_id)
                    opening.cancel()

                here._stream_established = both  # type: ignore[method-assign]
                outcome, *_ = await asyncio.gather(opening, return_exceptions=True)
                here._stream_established = established  # type: ignore[method-assign]
                assert isinstance(outcome, asyncio.CancelledError)
            await asyncio.sleep(1)
            assert here.stream_count == there.stream_count == 1

        between_connections(program)


class TestAccepting:
    def test_a_cancelled_acceptor_takes_nothing_from_the_next(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            first, second, third = (asyncio.create_task(there.accept_stream()) for _ in range(3))
            await asyncio.sleep(0)
            opened = there._stream_opened

            def cancel_around(stream_id: int) -> None:
                first.cancel()  # its waiter is cancelled, but it has not run yet
                opened(stream_id)
                second.cancel()  # woken, but it has not run yet

            there._stream_opened = cancel_around  # type: ignore[method-assign]
            mine = await here.open_stream()
            theirs = await asyncio.wait_for(third, 1)
            mine.write(b"hello")
            assert await theirs.read() == b"hello"
            assert first.cancelled()
            assert second.cancelled()

        between_connections(program)

    def test_every_acceptor_hears_of_the_end(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            waiting = [asyncio.create_task(here.accept_stream()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[1].cancel()
            here.close()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [
                LocallyClosed,
                asyncio.CancelledError,
                LocallyClosed,
            ]
            with pytest.raises(LocallyClosed):
                await here.accept_stream()

        between_connections(program)

    def test_a_cancelled_acceptor_does_not_break_the_end(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            waiting = asyncio.create_task(here.accept_stream())
            await asyncio.sleep(0)
            waiting.cancel()
            here.abort(ConnectionLost("in the same turn"))
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert here.closed

        between_connections(program)

    def test_streams_that_nobody_accepts_do_not_pile_up(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            for _n in range(50):
                (await here.open_stream()).reset()
            kept = await here.open_stream()
            kept.write(b"kept")
            await asyncio.sleep(1)
            assert len(there._accepted) == 1
            assert await (await there.accept_stream()).read() == b"kept"

        between_connections(program)


class TestLoss:
    def test_everybody_is_told(self) -> None:
        async def program(both: Hosts, here: Connection, there: Connection) -> None:
            stream = await here.open_stream()
            stream.write(b"into the void")
            both.partition()
            waiting: list[asyncio.Task[object]] = [
                asyncio.create_task(stream.read()),
                asyncio.create_task(here.open_stream()),
            ]
            stream.write(b"more")
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, KeynetError) for outcome in outcomes), outcomes
            assert isinstance(outcomes[0], ConnectionLost)

        between_connections(program)

    def test_a_failed_socket_ends_all_at_once(self) -> None:
        async def program(both: Hosts, here: Connection, there: Connection) -> None:
            stream = await here.open_stream()
            waiting: list[asyncio.Task[object]] = [
                asyncio.create_task(stream.read()),
                asyncio.create_task(here.accept_stream()),
                asyncio.create_task(here.open_stream()),
            ]
            closed = asyncio.create_task(here.wait_closed())
            await asyncio.sleep(0)
            both.dialer.endpoint_failed(OSError("broken"))
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, ConnectionLost) for outcome in outcomes), outcomes
            assert isinstance(await closed, ConnectionLost)
            assert both.dialer.connections == ()
            assert both.endpoints[0].budget._active == set()

        between_connections(program)


class TestBlocking:
    def test_a_full_socket_changes_neither_order_nor_bytes(self) -> None:
        async def program(both: Hosts, here: Connection, there: Connection) -> None:
            stream = await here.open_stream()
            theirs = await there.accept_stream()
            data = payload(2 << 20)

            async def stutter() -> None:
                for _ in range(100):
                    both.endpoints[0].block()
                    await asyncio.sleep(0.003)
                    both.endpoints[0].unblock()
                    await asyncio.sleep(0.001)

            stuttering = asyncio.create_task(stutter())
            stream.write(data)
            stream.write_eof()
            assert await read_all(theirs) == data
            await stuttering
            assert both.endpoints[0].counts["blocked"] > 10
            assert here.stats()["retransmitted"] == 0

        between_connections(program)

    def test_a_connection_can_be_closed_while_the_socket_is_full(self) -> None:
        async def program(both: Hosts, here: Connection, there: Connection) -> None:
            stream = await here.open_stream()
            stream.write(payload(1 << 20))
            both.endpoints[0].block()
            closing = asyncio.create_task(here.aclose())
            await asyncio.sleep(0.5)
            both.endpoints[0].unblock()
            await asyncio.wait_for(closing, 3)

        between_connections(program)


class TestClosing:
    def test_what_waits_unsent_is_not_passed_off_as_all(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            stream = await here.open_stream()
            theirs = await there.accept_stream()
            data = payload(12 << 20)
            stream.write(data)
            await asyncio.sleep(3)
            assert stream.buffered
            draining = asyncio.create_task(stream.drain())
            reading = asyncio.create_task(read_all(theirs))
            await asyncio.sleep(0)
            await here.aclose()
            with pytest.raises(LocallyClosed):
                await draining
            with pytest.raises(ClosedError):
                await reading

        between_connections(program)

    def test_closing_twice_and_from_both_ends(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            await asyncio.gather(here.aclose(), there.aclose(), here.aclose())
            assert here.closed
            assert there.closed
            assert await here.wait_closed() is None
            with pytest.raises(ClosedError):
                await here.open_stream()
            here.close()
            here.abort(ConnectionLost("too late"))
            assert here.error is None

        between_connections(program)

    def test_closing_wakes_whoever_is_opening(self) -> None:
        async def program(_: Hosts, here: Connection, there: Connection) -> None:
            opening = [asyncio.create_task(here.open_stream()) for _ in range(3)]
            await asyncio.sleep(0)
            opening[0].cancel()
            await here.aclose()
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert all(isinstance(outcome, LocallyClosed) for outcome in outcomes[1:])

        between_connections(program)
