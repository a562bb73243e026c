"""Streams within one machine behave as those between nodes do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from keynet.errors import ClosedByPeer, ClosedError, LocallyClosed
from keynet.identity import Identity, verify_chain
from keynet.rpc.proxy.local_stream import LocalConnection, LocalStream, stream_pair

Pair = tuple[LocalStream, LocalStream]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    peer = verify_chain(Identity.generate().chain, None)
    near, far = await stream_pair(LocalConnection(peer))
    yield near, far
    near.reset()
    far.reset()
    await asyncio.sleep(0)


async def read_all(stream: LocalStream) -> bytes:
    parts = []
    while data := await stream.read(1000):
        parts.append(data)
    return b"".join(parts)


async def write_forever(stream: LocalStream) -> None:
    while True:
        stream.write(b"x" * 65536)
        await stream.drain()
        await asyncio.sleep(0)


async def test_bytes_go_both_ways_and_each_way_ends_alone(pair: Pair) -> None:
    near, far = pair
    assert near.connection.peer == far.connection.peer
    buffer = bytearray(b"hello")
    near.write(buffer)
    buffer[:] = b"xxxxx"
    near.write_eof()
    near.write_eof()
    assert await read_all(far) == b"hello"
    with pytest.raises(LocallyClosed):
        near.write(b"more")
    far.write(b"still here")
    await far.drain()
    far.write_eof()
    assert await read_all(near) == b"still here"
    await near.wait_closed()
    await far.wait_closed()
    assert near.error is far.error is None


async def test_what_was_read_already_comes_first(pair: Pair) -> None:
    near, far = pair
    again = LocalStream(far.connection, far._end, early=b"early")
    near.write(b" late")
    near.write_eof()
    assert await again.read(2) == b"ea"
    assert await read_all(again) == b"rly late"


async def test_a_slow_reader_holds_up_the_writer(pair: Pair) -> None:
    near, far = pair
    written = 0
    blob = bytes(65536)
    while not near.buffered:
        near.write(blob)
        written += len(blob)
        await asyncio.sleep(0)
        assert written < 64 << 20
    draining = asyncio.ensure_future(near.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    near.write_eof()
    assert len(await read_all(far)) == written
    await draining
    assert near.buffered == 0


async def test_a_reset_wakes_whoever_waits(pair: Pair) -> None:
    near, _ = pair
    reading = asyncio.ensure_future(near.read())
    closing = asyncio.ensure_future(near.wait_closed())
    await asyncio.sleep(0)
    near.reset()
    near.reset()
    for waiting in (reading, closing):
        with pytest.raises(LocallyClosed):
            await waiting
    for use in (near.read, near.drain):
        with pytest.raises(LocallyClosed):
            await use()
    with pytest.raises(LocallyClosed):
        near.write(b"x")
    assert isinstance(near.error, LocallyClosed)
    near.write_eof()
    await near.aclose()


async def test_a_reset_ends_the_other_side(pair: Pair) -> None:
    near, far = pair
    near.reset()
    assert await far.read() == b"", "a Unix socket has no other sign"
    with pytest.raises(ClosedByPeer):
        await write_forever(far)
    with pytest.raises(ClosedError):
        await far.read()


async def test_aclose_waits_for_the_other_end(pair: Pair) -> None:
    near, far = pair
    near.write(b"bye")
    closing = asyncio.ensure_future(near.aclose())
    assert await read_all(far) == b"bye"
    assert not closing.done()
    far.write_eof()
    await closing
    await near.aclose()
    await near.wait_closed()


async def test_a_local_connection_is_one_stream(pair: Pair) -> None:
    with pytest.raises(LocallyClosed):
        await pair[0].connection.open_stream()
