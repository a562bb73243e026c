"""The virtual-time loop: no waiting, no hanging, no leaks."""

from __future__ import annotations

import asyncio
import time

import pytest

from keynet.testing.clock import (
    Deadlock,
    FaultInCallback,
    OutOfTime,
    Spinning,
    TasksLeaked,
    run,
)


def test_sleeping_takes_virtual_time_only() -> None:
    async def program() -> float:
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(asyncio.sleep(600), asyncio.sleep(1000))
        return asyncio.get_running_loop().time() - begun

    began = time.perf_counter()
    assert run(program()) == pytest.approx(1000)
    assert time.perf_counter() - began < 2


def test_timers_fire_in_order() -> None:
    async def program() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for n in (3, 1, 2):
            loop.call_later(n / 10, order.append, n)
        await asyncio.sleep(1)
        return order

    assert run(program()) == [1, 2, 3]


def test_a_deadlock_is_an_error_that_names_the_line() -> None:
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="in stuck"):
        run(stuck())


def test_endless_waiting_is_an_error() -> None:
    async def program() -> None:
        while True:  # noqa: ASYNC110 - polling is what is tested
            await asyncio.sleep(1)

    with pytest.raises(OutOfTime):
        run(program(), limit=60)


def test_spinning_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keynet.testing.clock.MOST_PASSES_AT_ONCE", 100)

    async def program() -> None:
        while True:  # noqa: ASYNC110 - polling is what is tested
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        run(program())


def test_a_task_left_behind_is_an_error() -> None:
    kept: list[asyncio.Task[None]] = []

    async def program(cancel: bool) -> None:
        kept.append(asyncio.create_task(asyncio.sleep(5), name="forgotten"))
        if cancel:
            kept[-1].cancel()

    run(program(True))
    with pytest.raises(TasksLeaked, match="forgotten"):
        run(program(False))


def test_an_exception_in_a_callback_is_not_lost() -> None:
    async def program() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(FaultInCallback) as caught:
        run(program())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_executors_run_in_line() -> None:
    async def program() -> int:
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")
        return await asyncio.to_thread(int, "7")

    assert run(program()) == 7


def test_the_programs_own_error_comes_through() -> None:
    async def program() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run(program())
