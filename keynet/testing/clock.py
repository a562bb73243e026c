"""An asyncio event loop on virtual time: `run(coroutine)`.

Time stands still while anything can run and jumps to the next timer when nothing can, so nothing
ever sleeps and every run of the same program is the same. What would hang in real time is an
error here: no timer and nothing ready (Deadlock), or more time used than a test may (OutOfTime).
No network lives here; see `keynet.testing.fakenet`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from keynet.testing.link import TIME_SLACK

T = TypeVar("T")

START = 1000.0
"""What the loop's time starts at: not zero, so that nobody mistakes "never" for a time."""

MOST_PASSES_AT_ONCE = 200_000
"""Loop iterations at one instant, after which the program is taken to spin."""

SETTLING_PASSES = 10
"""Loop iterations that a program gets, once it has returned, to end what it cancelled."""


class Deadlock(AssertionError):
    """Every task waits for something that no timer and no callback will ever do."""


class OutOfTime(AssertionError):
    """More virtual time passed than was allowed."""


class Spinning(AssertionError):
    """Callbacks call each other without end and without time passing."""


class TasksLeaked(AssertionError):
    """The program returned and left tasks behind."""


class FaultInCallback(AssertionError):
    """An exception escaped into the event loop; it is this one's cause."""


class _Selector(selectors.SelectSelector):
    """Jumps ahead instead of waiting."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.now = START
        self.stop_at = START + limit
        self.describe: Callable[[], str] = str
        self._passes = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock(f"nothing is ready and no timer is set, at {self.now:.3f}{self._who()}")
        self._passes = 0 if timeout > 0 else self._passes + 1
        if self._passes > MOST_PASSES_AT_ONCE:
            raise Spinning(f"no end of callbacks at {self.now:.3f}{self._who()}")
        self.now += max(0.0, timeout)
        if self.now > self.stop_at:
            self.stop_at = float("inf")
            raise OutOfTime(f"not done at {self.now:.3f}{self._who()}")
        return []

    def _who(self) -> str:
        return self.describe()


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """The loop. Its executors run their work at once, in the loop's own thread."""

    def __init__(self, limit: float = 3600.0) -> None:
        """`limit` is the virtual time that may pass, in seconds."""
        self._virtual = _Selector(limit)
        super().__init__(self._virtual)
        self._clock_resolution = TIME_SLACK
        self.faults: list[dict[str, Any]] = []
        """What was given to the exception handler: exceptions that nobody caught."""
        self._virtual.describe = self._waiting
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's, as with a real executor
            future.set_exception(error)
        return future

    def _waiting(self) -> str:
        return "".join(f"\n  {_where(task)}" for task in asyncio.all_tasks(self))


def _where(task: asyncio.Task[Any]) -> str:
    """The task's name and the innermost line that it waits in."""
    coro: Any = task.get_coro()
    place = "has not begun"
    while coro is not None and (frame := getattr(coro, "cr_frame", None)) is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        coro = getattr(coro, "cr_await", None)
    return f"{task.get_name()}: {place}"


def run(program: Coroutine[Any, Any, T], *, limit: float = 3600.0) -> T:
    """Run `program` to its end on a new virtual-time loop and return its result.

    `limit` is the virtual time that may pass, in seconds. Raises whatever the program raises, and
    besides Deadlock, OutOfTime, Spinning, TasksLeaked and FaultInCallback.
    """
    loop = VirtualClockLoop(limit)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(_without_leaks(program))
    if loop.faults:
        fault = loop.faults[0]
        raise FaultInCallback(str(fault.get("message"))) from fault.get("exception")
    return result


async def _without_leaks(program: Coroutine[Any, Any, T]) -> T:
    result = await program
    for _ in range(SETTLING_PASSES):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return result
        await asyncio.sleep(0)
    raise TasksLeaked("left behind: " + "; ".join(sorted(_where(task) for task in left)))
