"""Ending a foreground command in order at SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine


def stop_event() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; a second one kills as usual."""
    stop = asyncio.Event()
    _on_signals(stop.set)
    return stop


async def before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether `work` was done before `stop` was set; it is cancelled otherwise."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)
    if task.cancelled():
        return False
    task.result()
    return True


def _on_signals(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def caught(*_: object) -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)
        loop.call_soon_threadsafe(stop)

    for number in usual:
        signal.signal(number, caught)
