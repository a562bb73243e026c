"""Operations that outlive who awaits them, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from keynet.errors import RpcError
from keynet.rpc.grpc.steady import Steady
from keynet.rpc.status import Status
from keynet.testing.clock import run


async def later(value: int) -> int:
    await asyncio.sleep(1)
    return value


def test_a_cancelled_waiter_leaves_the_outcome_to_the_next() -> None:
    async def program() -> None:
        steady: Steady[int] = Steady()
        assert steady.idle
        steady.begin(later(7))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await steady.outcome()
        assert not steady.idle
        assert await steady.outcome() == 7
        assert steady.idle

    run(program())


def test_an_outcome_that_comes_as_its_waiter_is_cancelled_is_not_lost() -> None:
    async def program() -> None:
        steady: Steady[int] = Steady()
        arriving: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        steady.begin(arriving)
        waiting = asyncio.ensure_future(steady.outcome())
        await asyncio.sleep(0)
        arriving.set_result(7)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert await steady.outcome() == 7

    run(program())


def test_what_fails_fails_once() -> None:
    async def fail() -> int:
        raise ValueError("once")

    async def program() -> None:
        steady: Steady[int] = Steady()
        steady.begin(fail())
        with pytest.raises(ValueError, match="once"):
            await steady.outcome()
        steady.begin(later(1))
        assert await steady.outcome() == 1

    run(program())


def test_what_grpcio_cancels_is_a_cancelled_call_and_not_a_cancelled_waiter() -> None:
    async def program() -> None:
        steady: Steady[int] = Steady()
        operation = asyncio.ensure_future(later(1))
        steady.begin(operation)
        operation.cancel()
        with pytest.raises(RpcError) as caught:
            await steady.outcome()
        assert caught.value.status == Status.CANCELLED

    run(program())


def test_nobody_complains_of_an_outcome_that_nobody_wanted() -> None:
    complaints: list[object] = []

    async def fail() -> int:
        raise ValueError("unwanted")

    async def program() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        steady: Steady[int] = Steady()
        steady.begin(fail())
        await asyncio.sleep(1)

    run(program())
    assert complaints == []
