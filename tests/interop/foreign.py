"""Foreign programs as child processes that print one JSON object a line, bounded in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"


class Foreign:
    """One running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hear(self, event: str) -> dict[str, Any]:
        """Its next object, which must be `event`. The caller bounds the time."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"it ended with {await self._process.wait()} before saying {event!r}"
        said: dict[str, Any] = json.loads(line)
        assert said["event"] == event, said
        return said


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Foreign]:
    """Start a program of `peers/` and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=PEERS,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Foreign(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
