"""Bytes both ways: half-close, breaks, back-pressure."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keynet.errors import ClosedByPeer, ConnectionLost, KeynetError, LocallyClosed
from keynet.identity import Identity
from keynet.rpc.proxy.pipe import HIGH_WATER, Traffic, pipe
from keynet.rpc.proxy.tcp import RECEIVE_BUFFER, TcpEnd, receive_buffer
from keynet.testing.streams import HIGH_WATER as STREAM_HIGH_WATER
from keynet.testing.streams import MemoryConnection, MemoryStream, connected

BUFFER = receive_buffer()
Outcome = KeynetError | None


class Piped:
    """A program's socket, piped to a stream whose far end the test holds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    far: MemoryStream
    near: MemoryStream
    connection: MemoryConnection
    outcome: asyncio.Task[Outcome]

    def __init__(self) -> None:
        self.traffic = Traffic()

    async def start(self, **settings: Any) -> None:
        ours, theirs = socket.socketpair()
        self.reader, self.writer = await asyncio.open_connection(sock=theirs)
        end = TcpEnd(BUFFER)
        await asyncio.get_running_loop().create_connection(lambda: end, sock=ours)
        await self.pipe_to(end, **settings)

    async def pipe_to(self, end: TcpEnd, **settings: Any) -> None:
        self.connection, peer = connected(Identity.generate(), Identity.generate())
        self.near = await self.connection.open_stream()
        self.far = await peer.accept_stream()
        self.outcome = asyncio.ensure_future(pipe(end, self.near, self.traffic, **settings))

    async def stop(self) -> None:
        self.outcome.cancel()
        await asyncio.gather(self.outcome, return_exceptions=True)
        self.writer.transport.abort()
        await asyncio.sleep(0)


class Tcp(Piped):
    """The same over TCP."""

    async def start_tcp(self) -> None:
        ends: asyncio.Queue[TcpEnd] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: TcpEnd(BUFFER, ends.put_nowait), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.reader, self.writer = await asyncio.open_connection(host, port)
        end = await ends.get()
        server.close()
        await self.pipe_to(end)


@pytest.fixture
async def tcp() -> AsyncIterator[Tcp]:
    tcp = Tcp()
    await tcp.start_tcp()
    yield tcp
    await tcp.stop()


@pytest.fixture
async def piped() -> AsyncIterator[Piped]:
    piped = Piped()
    yield piped
    await piped.stop()


async def test_bytes_pass_both_ways_and_are_counted(piped: Piped) -> None:
    await piped.start(to_peer=b"before, ", from_peer=b"already, ")
    piped.writer.write(b"hello")
    received = b""
    while len(received) < 13:
        received += await piped.far.read()
    assert received == b"before, hello"
    piped.far.write(b"world")
    assert await piped.reader.readexactly(14) == b"already, world"
    assert (piped.traffic.to_peer, piped.traffic.from_peer) == (13, 14)


class TestHalfClose:
    async def test_the_program_ends_first(self, piped: Piped) -> None:
        await piped.start()
        piped.writer.write(b"question")
        piped.writer.write_eof()
        assert await piped.far.read() == b"question"
        assert await piped.far.read() == b""
        piped.far.write(b"answer")
        assert await piped.reader.readexactly(6) == b"answer"
        piped.far.write_eof()
        assert await piped.reader.read() == b""
        assert await piped.outcome is None

    async def test_the_peer_ends_first(self, piped: Piped) -> None:
        await piped.start()
        piped.far.write(b"greeting")
        piped.far.write_eof()
        assert await piped.reader.read() == b"greeting"
        piped.writer.write(b"thanks")
        assert await piped.far.read() == b"thanks"
        assert not piped.outcome.done()
        piped.writer.write_eof()
        assert await piped.far.read() == b""
        assert await piped.outcome is None

    async def test_what_is_still_to_be_read_is_not_lost_at_the_end(self, piped: Piped) -> None:
        await piped.start()
        data = bytes(range(256)) * 20000
        piped.writer.write_eof()
        piped.far.write(data)
        piped.far.write_eof()
        for _ in range(200):
            await asyncio.sleep(0)
        assert await piped.reader.read() == data
        assert await piped.outcome is None


class TestBreaks:
    async def test_a_program_that_ended_and_is_gone_resets_the_stream(self, piped: Piped) -> None:
        await piped.start()
        piped.writer.transport.abort()
        assert await piped.far.read() == b""
        piped.far.write(b"anybody there?")
        assert isinstance(await piped.outcome, ClosedByPeer)
        await piped.far.wait_closed()
        assert isinstance(piped.far.error, ClosedByPeer)

    @pytest.mark.parametrize("ended", ["nobody", "peer", "program"])
    async def test_a_path_that_dies_breaks_off_the_program(self, piped: Piped, ended: str) -> None:
        await piped.start()
        if ended == "peer":
            piped.far.write_eof()
            assert await piped.reader.read() == b""
        if ended == "program":
            piped.writer.write_eof()
            assert await piped.far.read() == b""
        piped.connection.lose("no pong for 8 s")
        assert isinstance(await piped.outcome, ConnectionLost)
        await settle_closed(piped)

    async def test_a_peer_that_resets_breaks_off_the_program(self, piped: Piped) -> None:
        await piped.start()
        piped.far.reset()
        assert isinstance(await piped.outcome, ClosedByPeer)
        await settle_closed(piped)

    async def test_writing_to_a_broken_stream_breaks_off(self, piped: Piped) -> None:
        await piped.start(hold=3600)
        piped.connection.lose("no pong for 8 s")
        piped.writer.write(b"hello?")
        assert isinstance(await piped.outcome, ConnectionLost)

    async def test_cancelling_breaks_off_both(self, piped: Piped) -> None:
        await piped.start()
        await asyncio.sleep(0)
        piped.outcome.cancel()
        with pytest.raises(asyncio.CancelledError):
            await piped.outcome
        with pytest.raises(ClosedByPeer):
            await piped.far.read()
        with pytest.raises(LocallyClosed):
            await piped.near.read()


async def settle_closed(piped: Piped) -> None:
    """Wait for the program to see that its connection is gone."""
    try:
        assert await piped.reader.read() == b""
    except ConnectionResetError:
        return


class TestTcp:
    """What Unix sockets cannot do: a break that differs from an end."""

    async def test_a_lost_path_is_a_reset_not_an_end(self, tcp: Tcp) -> None:
        """An end could be taken for the whole of an answer."""
        tcp.far.write(b"half of an ans")
        assert await tcp.reader.readexactly(14) == b"half of an ans"
        tcp.connection.lose("no pong for 8 s")
        with pytest.raises(ConnectionResetError):
            await tcp.reader.read()
        assert isinstance(await tcp.outcome, ConnectionLost)

    async def test_a_program_that_breaks_off_resets_the_stream(self, tcp: Tcp) -> None:
        sock = tcp.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        tcp.writer.transport.abort()
        with pytest.raises(ClosedByPeer):
            await tcp.far.read()
        outcome = await tcp.outcome
        assert isinstance(outcome, ClosedByPeer)
        assert "local connection" in str(outcome)


class TestBackPressure:
    async def test_a_peer_that_does_not_read_stops_the_program(self, piped: Piped) -> None:
        await piped.start()
        piped.writer.write(b"x" * 20_000_000)
        for _ in range(1000):
            await asyncio.sleep(0)
        most = HIGH_WATER + STREAM_HIGH_WATER + RECEIVE_BUFFER
        assert HIGH_WATER <= piped.near.largest_backlog <= most
        received = 0
        while received < 20_000_000:
            received += len(await piped.far.read())
        assert piped.near.largest_backlog <= most

    async def test_a_program_that_does_not_read_stops_the_peer(self, piped: Piped) -> None:
        await piped.start()
        for _ in range(100):
            piped.far.write(b"x" * 200_000)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert piped.traffic.from_peer < 3_000_000
        assert len(await piped.reader.readexactly(20_000_000)) == 20_000_000

    async def test_the_two_directions_do_not_hold_each_other_up(self, piped: Piped) -> None:
        await piped.start()
        piped.writer.write(b"x" * 5_000_000)  # which nobody reads
        for _ in range(100):
            await asyncio.sleep(0)
        piped.far.write(b"still here")
        assert await piped.reader.readexactly(10) == b"still here"

    async def test_a_stream_that_breaks_while_congested_breaks_off(self, piped: Piped) -> None:
        await piped.start()
        piped.writer.write(b"x" * 5_000_000)
        for _ in range(100):
            await asyncio.sleep(0)
        piped.connection.lose("no pong for 8 s")
        assert isinstance(await piped.outcome, ConnectionLost)


class TestHold:
    async def test_the_peers_bytes_wait_for_the_programs(self, piped: Piped) -> None:
        await piped.start(hold=3600, from_peer=b"SETTINGS")
        for _ in range(20):
            await asyncio.sleep(0)
        assert piped.traffic.from_peer == 0
        piped.writer.write(b"PRI")
        assert await piped.reader.readexactly(8) == b"SETTINGS"

    async def test_bytes_already_there_count_as_the_first(self, piped: Piped) -> None:
        await piped.start(hold=3600, to_peer=b"PRI", from_peer=b"SETTINGS")
        assert await piped.reader.readexactly(8) == b"SETTINGS"

    async def test_an_end_counts_too(self, piped: Piped) -> None:
        await piped.start(hold=3600, from_peer=b"SETTINGS")
        piped.writer.write_eof()
        assert await piped.reader.readexactly(8) == b"SETTINGS"

    async def test_not_for_longer_than_said(self, piped: Piped) -> None:
        await piped.start(hold=0.001, from_peer=b"SSH-2.0-server")
        assert await piped.reader.readexactly(14) == b"SSH-2.0-server"


async def test_ending_a_connection_that_was_reset_unnoticed_is_no_error() -> None:
    """The socket is gone (ENOTCONN), but asyncio has yet to read that."""

    class Reset(asyncio.Transport):
        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

        def is_closing(self) -> bool:
            return False

        def write_eof(self) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    end = TcpEnd(receive_buffer())
    end.connection_made(Reset())
    end.write_eof()
    assert not end.closed, "connection_lost will tell"
