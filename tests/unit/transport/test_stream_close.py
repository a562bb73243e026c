"""Closing a stream: what the peer still says is read away, so that its end is found."""

from __future__ import annotations

import asyncio

import pytest

from keynet.errors import LocallyClosed
from keynet.testing.clock import run
from keynet.testing.transport.hosts import hosts
from keynet.transport.stream import CLOSE_TIMEOUT
from keynet.transport.utp import transport


def test_closing_both_ends_takes_a_round_trip_and_not_the_time_limit() -> None:
    async def program() -> float:
        async with hosts(transport) as both:
            here, there = await both.streams()
            there.write(b"never read")
            started = asyncio.get_running_loop().time()
            await asyncio.gather(here.aclose(), there.aclose())
            assert here.error is None
            assert there.error is None
            return asyncio.get_running_loop().time() - started

    assert run(program()) < CLOSE_TIMEOUT / 2


def test_closing_does_not_disturb_a_reader() -> None:
    async def program() -> bytes:
        async with hosts(transport) as both:
            here, there = await both.streams()
            reading = asyncio.create_task(here.read())
            await asyncio.sleep(0)
            closing = asyncio.create_task(here.aclose())
            there.write(b"late")
            there.write_eof()
            data = await reading
            await closing
            return data

    assert run(program()) == b"late"


def test_closing_a_stream_whose_peer_goes_on_for_ever_takes_the_time_limit() -> None:
    async def program() -> float:
        async with hosts(transport) as both:
            here, there = await both.streams()
            started = asyncio.get_running_loop().time()
            await here.aclose()
            there.reset()
            return asyncio.get_running_loop().time() - started

    assert CLOSE_TIMEOUT <= run(program()) < CLOSE_TIMEOUT + 0.1


def test_closing_what_the_engine_has_dropped_already_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some event loops run other tasks between a datagram's arrival and the events it makes."""

    async def program() -> None:
        async with hosts(transport) as both:
            here, _ = await both.streams()
            asked = 0

            def gone(*_: object) -> bytes:
                nonlocal asked
                asked += 1
                if asked > 3:
                    raise AssertionError("it asks again and again")
                raise LocallyClosed("the stream is closed")

            monkeypatch.setattr(here.connection, "read", gone)
            monkeypatch.setattr(here.connection, "write_eof", gone)
            await here.aclose()

    run(program())
