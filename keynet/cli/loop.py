"""Running a command's coroutine: on uvloop where it is installed, else on asyncio's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

ResultT = TypeVar("ResultT")


def run(work: Coroutine[None, None, ResultT]) -> ResultT:
    """Run `work` to its end, as asyncio.run does."""
    try:
        import uvloop  # optional: the extra `speed`
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
