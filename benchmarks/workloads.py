"""What is measured, written once for every peer: the server's answer and the client's workloads."""

from __future__ import annotations

import asyncio
import random
import statistics
import struct
import time
from collections.abc import Awaitable, Callable

from benchmarks.stream import CHUNK, Address, ByteStream, Peer

BULK, ECHO = b"B", b"E"
"""A stream's first byte says what the client wants of the server."""

SIZE = struct.Struct("!Q")
"""Before each bulk transfer: how many bytes it has."""

VERDICT = struct.Struct("!Q?")
"""The server's answer to a bulk transfer: bytes received, and whether all were right."""

PATTERN = random.Random(20).randbytes(2**20)
DOUBLED = PATTERN * 2
"""The bytes of every bulk transfer repeat PATTERN, so that checking them costs a memcmp."""

Values = dict[str, float]
"""What a workload found, by name; the unit ends the name (`_mb_per_s`, `_us`, `_ms`, `_kb`)."""

Mark = Callable[[str], Awaitable[None]]
"""Tells the runner to read every process's CPU time and memory now; returns when that is done."""


async def answer(stream: ByteStream) -> None:
    """Serve one stream to its end."""
    first = await stream.read()
    if first[:1] == BULK:
        await _swallow(stream, first[1:])
    elif first[:1] == ECHO:
        await _echo(stream, first[1:])
    await stream.close()


async def _swallow(stream: ByteStream, data: bytes) -> None:
    """Answer one transfer after the other with a verdict."""
    while True:
        while len(data) < SIZE.size:
            more = await stream.read()
            if not more:
                return
            data += more
        (size,), data = SIZE.unpack(data[: SIZE.size]), data[SIZE.size :]
        received, right = 0, True
        while received < size:
            right = right and DOUBLED.startswith(data, received % len(PATTERN))
            received += len(data)
            data = b"" if received >= size else await stream.read()
            if not data and received < size:
                return
        await stream.write(VERDICT.pack(received, right))


async def _echo(stream: ByteStream, data: bytes) -> None:
    while data or (data := await stream.read()):
        await stream.write(data)
        data = b""


async def _read_exactly(stream: ByteStream, size: int) -> bytes:
    data = await stream.read()
    while len(data) < size:
        more = await stream.read()
        if not more:
            raise AssertionError(f"the stream ended after {len(data)} of {size} bytes")
        data += more
    return data


async def _transfer(stream: ByteStream, size: int) -> float:
    """Send `size` bytes (whole chunks); return the seconds until the server has and likes them."""
    started = time.perf_counter()
    await stream.write(SIZE.pack(size))
    for sent in range(0, size, CHUNK):
        start = sent % len(PATTERN)
        await stream.write(PATTERN[start : start + CHUNK])
    received, right = VERDICT.unpack(await _read_exactly(stream, VERDICT.size))
    if not right or received != size:
        raise AssertionError(f"sent {size} bytes, {received} arrived, all right: {right}")
    return time.perf_counter() - started


async def bulk(
    peer: Peer, address: Address, mark: Mark, *, seconds: float, warm_up_bytes: int = 64 * CHUNK
) -> Values:
    """Send one way for about `seconds`, on a stream that has carried the warm-up already."""
    stream = await peer.dial(address)
    await stream.write(BULK)
    warm = await _transfer(stream, warm_up_bytes)
    size = max(1, round(warm_up_bytes / warm * seconds / CHUNK)) * CHUNK
    await mark("begin")
    elapsed = await _transfer(stream, size)
    await mark("end")
    await stream.close()
    return {"rate_mb_per_s": size / elapsed / 1e6, "bytes": size}


async def round_trip(peer: Peer, address: Address, mark: Mark, *, count: int) -> Values:
    """Time `count` echoes of 64 bytes, one after the other, on one stream."""
    stream = await peer.dial(address)
    await stream.write(ECHO)
    message, times = bytes(64), []
    for _ in range(count + count // 10):
        started = time.perf_counter()
        await stream.write(message)
        await _read_exactly(stream, len(message))
        times.append(time.perf_counter() - started)
    await stream.close()
    measured = sorted(times[-count:])
    return {
        "median_us": statistics.median(measured) * 1e6,
        "p99_us": measured[int(count * 0.99)] * 1e6,
    }


async def set_up(peer: Peer, address: Address, mark: Mark, *, count: int) -> Values:
    """Time from the dial to the first byte back, `count` times, each on a new stream."""
    times = []
    for _ in range(count + 3):
        started = time.perf_counter()
        stream = await peer.dial(address)
        await stream.write(ECHO + b"x")
        await _read_exactly(stream, 1)
        times.append(time.perf_counter() - started)
        await stream.close()
    return {"median_ms": statistics.median(times[3:]) * 1e3, "worst_ms": max(times[3:]) * 1e3}


async def idle(peer: Peer, address: Address, mark: Mark, *, count: int) -> Values:
    """Hold `count` streams, each used once, between the marks: the runner reads what they cost."""
    streams = [await _used_once(peer, address) for _ in range(20)]
    await asyncio.sleep(0.3)
    await mark("begin")
    streams += [await _used_once(peer, address) for _ in range(count)]
    await asyncio.sleep(0.3)
    await mark("end")
    for stream in streams:
        await stream.close()
    return {"count": count}


async def _used_once(peer: Peer, address: Address) -> ByteStream:
    stream = await peer.dial(address)
    await stream.write(ECHO + b"x")
    await _read_exactly(stream, 1)
    return stream


WORKLOADS: dict[str, Callable[..., Awaitable[Values]]] = {
    "bulk": bulk,
    "round_trip": round_trip,
    "set_up": set_up,
    "idle": idle,
}
