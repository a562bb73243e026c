"""The asyncio face of a stream: what its coroutines promise, and what cancelling may not cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from keynet.errors import ClosedByPeer, ConnectionLost, LocallyClosed, LocalProtocolError
from keynet.testing.clock import run
from keynet.testing.link import LinkModel
from keynet.testing.transport.hosts import Hosts, hosts
from keynet.testing.transport.scene import payload
from keynet.transport.connection import SHORT
from keynet.transport.stream import CLOSE_TIMEOUT, Stream
from keynet.transport.utp import transport

Program = Callable[[Hosts, Stream, Stream], Awaitable[None]]


def between_streams(program: Program, link: LinkModel | None = None) -> None:
    """Run a program with both ends of a new stream."""

    async def whole() -> None:
        async with hosts(transport, link) as both:
            here, there = await both.streams()
            await program(both, here, there)

    run(whole())


async def read_all(stream: Stream) -> bytes:
    data = bytearray()
    while piece := await stream.read():
        data += piece
    return bytes(data)


class TestReading:
    def test_the_end_is_told_again_and_again(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            here.write(b"all")
            here.write_eof()
            assert await there.read() == b"all"
            for _again in range(3):
                assert await there.read() == b""
            there.write_eof()
            await there.wait_closed()
            assert await there.read() == b""
            assert there.error is None

        between_streams(program)

    def test_pieces_are_as_small_as_asked_for(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data = payload(1000)
            here.write(data)
            got = await there.read(1) + await there.read(10)
            buffer = bytearray(500)
            size = await there.readinto(buffer)
            assert size == 500
            got += buffer[:size]
            got += await there.read()
            assert got == data

        between_streams(program)

    def test_asking_for_nothing_gives_nothing_and_disturbs_nothing(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            assert await there.read(0) == b""
            here.write(b"x")
            await asyncio.sleep(1)
            assert await there.readinto(bytearray()) == 0
            assert await there.read() == b"x"

        between_streams(program)

    def test_two_readers_are_a_mistake_that_does_not_spread(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            first = asyncio.create_task(there.read())
            await asyncio.sleep(0)
            with pytest.raises(LocalProtocolError):
                await there.read()
            here.write(b"x")
            assert await first == b"x"

        between_streams(program)

    def test_a_cancelled_read_loses_nothing(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data, got = payload(30_000), bytearray()
            here.write(data)
            here.write_eof()
            while True:
                reading = asyncio.create_task(there.read(700))
                await asyncio.sleep(0)
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    piece = await reading
                    if not piece:
                        break
                    got += piece
                    continue
                await asyncio.sleep(0.003)
            assert got == data

        between_streams(program)

    def test_a_record_that_comes_packet_by_packet_is_read_in_small_steps(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data, got = payload(40_000), b""
            here.write(data)
            await asyncio.sleep(5)
            async with asyncio.timeout(5):
                while len(got) < len(data):
                    got += await there.read(100)
            assert got == data

        between_streams(program, LinkModel(rate=50_000))

    def test_a_reader_in_small_steps_holds_the_writer(self) -> None:
        """What was decrypted and not read counts too, or memory would grow with every step."""

        async def program(both: Hosts, here: Stream, there: Stream) -> None:
            here.write(payload(20 << 20))
            for _ in range(400):
                await there.read(1)
                await asyncio.sleep(0.01)
            assert both.endpoints[0].counts["sent_bytes"] < 6 << 20

        between_streams(program)


class TestWriting:
    def test_a_short_message_goes_out_at_once_and_more_of_them_gather(self) -> None:
        async def program(both: Hosts, here: Stream, there: Stream) -> None:
            await asyncio.sleep(1)
            counts = both.endpoints[0].counts
            before = counts["sent_datagrams"]
            here.write(b"one ")
            assert counts["sent_datagrams"] == before + 1
            here.write(b"two ")
            here.write(b"three")
            assert counts["sent_datagrams"] == before + 1
            await asyncio.sleep(0)
            assert counts["sent_datagrams"] == before + 2
            got = b""
            while len(got) < 13:
                got += await there.read()
            assert got == b"one two three"

        between_streams(program)

    def test_a_long_message_waits_for_the_end_of_the_turn(self) -> None:
        async def program(both: Hosts, here: Stream, there: Stream) -> None:
            await asyncio.sleep(1)
            counts = both.endpoints[0].counts
            before = counts["sent_datagrams"]
            here.write(bytes(SHORT + 1))
            assert counts["sent_datagrams"] == before
            await asyncio.sleep(0)
            assert counts["sent_datagrams"] > before

        between_streams(program)

    def test_drain_is_back_pressure(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data = payload(12 << 20)
            here.write(data)
            assert here.buffered > 0
            draining = asyncio.create_task(here.drain())
            await asyncio.sleep(30)
            assert not draining.done()
            here.write_eof()
            assert await read_all(there) == data
            await draining
            assert here.buffered == 0

        between_streams(program)

    def test_what_was_written_may_be_changed_afterwards(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            buffer = bytearray(payload(3 << 20))
            data = bytes(buffer)
            here.write(buffer)
            here.write(memoryview(buffer))
            buffer[:] = bytes(len(buffer))
            here.write_eof()
            assert await read_all(there) == data + data

        between_streams(program)

    def test_several_may_drain_and_some_give_up(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            here.write(payload(8 << 20))
            waiting = [asyncio.create_task(here.drain()) for _ in range(4)]
            await asyncio.sleep(1)
            waiting[0].cancel()
            waiting[2].cancel()
            here.write_eof()
            await read_all(there)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [
                asyncio.CancelledError,
                type(None),
                asyncio.CancelledError,
                type(None),
            ]

        between_streams(program)

    def test_nothing_may_be_written_after_the_end(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            here.write_eof()
            here.write_eof()
            with pytest.raises(LocallyClosed):
                here.write(b"more")
            assert await there.read() == b""
            there.write(b"but this way it goes on")
            assert await here.read() == b"but this way it goes on"

        between_streams(program)

    @pytest.mark.parametrize("size", [0, 1, 65_536, 1 << 20])
    def test_any_size_at_once(self, size: int) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            here.write(payload(size))
            await here.drain()
            here.write_eof()
            assert await read_all(there) == payload(size)

        between_streams(program)


class TestEnding:
    def test_a_lost_path_wakes_everybody_with_the_reason(self) -> None:
        async def program(both: Hosts, here: Stream, _: Stream) -> None:
            here.write(payload(12 << 20))
            waiting = [
                asyncio.create_task(here.read()),
                asyncio.create_task(here.drain()),
                asyncio.create_task(here.drain()),
            ]
            closing = asyncio.create_task(here.wait_closed())
            both.partition()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            await closing
            assert all(isinstance(outcome, ConnectionLost) for outcome in outcomes), outcomes
            assert isinstance(here.error, ConnectionLost)
            for again in (here.read(), here.drain()):
                with pytest.raises(ConnectionLost):
                    await again
            with pytest.raises(ConnectionLost):
                here.write(b"x")
            here.write_eof()
            here.reset()
            await here.aclose()

        between_streams(program)

    def test_a_reset_is_told_on_both_sides(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            mine, theirs = (asyncio.create_task(end.read()) for end in (here, there))
            await asyncio.sleep(0)
            here.reset()
            here.reset()
            with pytest.raises(LocallyClosed):
                await mine
            with pytest.raises(ClosedByPeer):
                await theirs
            assert here.connection.stream_count == 0

        between_streams(program)

    def test_aclose_is_quick_when_the_peer_has_finished(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            there.write(payload(100_000))
            there.write_eof()
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await asyncio.gather(here.aclose(), here.aclose())
            await here.aclose()
            assert asyncio.get_running_loop().time() - began < 0.2
            assert here.error is None
            assert await there.read() == b""

        between_streams(program)

    def test_aclose_resets_what_the_peer_keeps_open(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            began = asyncio.get_running_loop().time()
            await here.aclose()
            assert asyncio.get_running_loop().time() - began == pytest.approx(CLOSE_TIMEOUT)
            assert await there.read() == b""
            await there.wait_closed()

        between_streams(program)

    def test_aclose_sends_what_still_waits(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data = payload(8 << 20)
            here.write(data)
            there.write_eof()
            closing = asyncio.create_task(here.aclose())
            assert await read_all(there) == data
            await closing
            assert here.error is None

        between_streams(program)

    def test_a_cancelled_aclose_resets(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            closing = asyncio.create_task(here.aclose())
            await asyncio.sleep(0.5)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert here.connection.stream_count == 0
            await there.wait_closed()

        between_streams(program)

    def test_aclose_beside_a_reader_leaves_it_its_bytes(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            reading = asyncio.create_task(read_all(here))
            await asyncio.sleep(0)
            closing = asyncio.create_task(here.aclose())
            there.write(b"answer")
            there.write_eof()
            assert await reading == b"answer"
            await closing

        between_streams(program)

    def test_what_had_come_before_the_peer_closed_can_be_read(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            data = payload(300_000)
            here.write(data)
            await here.drain()
            await asyncio.sleep(2)
            await here.connection.aclose()
            await asyncio.sleep(5)
            assert await read_all(there) == data

        between_streams(program)


class TestEventsThatWait:
    """Input comes in batches: the engine may know of an end that the stream has not been told."""

    def test_a_reset_is_the_peers_whoever_notices_it_first(self) -> None:
        async def program(_: Hosts, here: Stream, there: Stream) -> None:
            here.connection.drained = lambda: None  # type: ignore[method-assign]
            there.reset()
            await asyncio.sleep(0.011)
            with pytest.raises(ClosedByPeer):
                await here.read()
            assert isinstance(here.error, ClosedByPeer)

        between_streams(program)

    def test_writing_and_ending_notice_it_too(self) -> None:
        async def program(both: Hosts, here: Stream, there: Stream) -> None:
            another = await here.connection.open_stream()
            another.write(b"x")
            await asyncio.sleep(0.1)
            here.connection.drained = lambda: None  # type: ignore[method-assign]
            there.connection.close()
            await asyncio.sleep(1.1)
            there.connection.abort(ConnectionLost("enough"))
            with pytest.raises(ClosedByPeer):
                here.write(b"x")
            another.write_eof()
            assert isinstance(another.error, ClosedByPeer)

        between_streams(program)
