"""Checks against peers that do not speak the protocol: R-70 and R-71."""

from __future__ import annotations

import asyncio
import random

from keynet.errors import KeynetError
from keynet.rpc.api import ByteStream
from keynet.testing.rpc.ends import NAMES, Ends
from keynet.testing.rpc.flow import neighbours_go_on
from keynet.testing.rpc.rules import rule

RANDOM = random.Random(7)
GARBAGE = (
    b"",
    b"\n" * 1000,
    b"\x00" * 1000,
    b"\xff" * 1000,
    b"GET / HTTP/1.1\r\nHost: keynet\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    b'{"jsonrpc":"2.0","method":5,"id":{}}\n[[[[[[\n',
    b"[" * 100_000 + b"\n",
    *(RANDOM.randbytes(size) for size in (1, 10, 1000, 100_000)),
)
"""What no binding means, or only the beginning of it."""


@rule("R-70", "garbage on a stream of the protocol harms nobody else")
async def check_survives_garbage(ends: Ends) -> None:
    async with ends.joined() as scene:
        name = ends.make().name
        for number, garbage in enumerate(GARBAGE):
            stream = await scene.near.open_stream(scene.far.node_id, name)
            await _say(stream, garbage, end=number % 2 == 0)
            await asyncio.sleep(ends.soon / 10)
            stream.reset()
        assert not scene.probe.calls, "garbage was taken for a call"
        await neighbours_go_on(scene)


@rule("R-71", "a peer that answers garbage, or nothing, makes calls fail and nothing worse")
async def check_survives_answers_of_garbage(ends: Ends) -> None:
    async with ends.joined() as scene:
        await scene.server.aclose(0.0)
        name = ends.make().name
        for garbage in GARBAGE[:: len(GARBAGE) // 6]:

            async def answer(stream: ByteStream, begun: bytes, garbage: bytes = garbage) -> None:
                await _say(stream, garbage, end=False)
                await stream.wait_closed()

            scene.far.serve_protocol(name, answer)
            outcomes = await asyncio.gather(
                *(scene.call(method, timeout=ends.soon, items=["a"]) for method in NAMES)
            )
            well = [outcome for outcome in outcomes if outcome.error is None]
            assert not well, f"of garbage a call made {well[0].values}"
            scene.lose("so that the next one is new")
            await scene.until_idle()
        scene.far.serve_protocol(name, None)


async def _say(stream: ByteStream, data: bytes, *, end: bool) -> None:
    """Write it all, if the other side will have it."""
    try:
        for start in range(0, len(data), 1000):
            stream.write(data[start : start + 1000])
        await stream.drain()
        if end:
            stream.write_eof()
    except KeynetError:
        return
