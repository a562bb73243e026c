"""The demo's child processes: started, read with a deadline, and always ended. No narration."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keynet.errors import DeadlineExceeded, KeynetError

LINE_TIMEOUT = 20.0
"""Seconds for a process to say its next line."""
END_TIMEOUT = 10.0


class Child:
    """One `python -m …`, in a session of its own, so that a Ctrl-C reaches the demo alone."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self._arguments = arguments
        self._process: Process | None = None
        self._complaints = b""
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        for name in ("KEYNET_CONFIG", "KEYNET_STATE", "KEYNET_PASSPHRASE", "KEYNET_PROXY_TOKEN"):
            environment.pop(name, None)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read_complaints())

    @property
    def pid(self) -> int:
        return self._running.pid

    async def line(self, within: float = LINE_TIMEOUT) -> str:
        """The next line of its output. Raises KeynetError when it ends first, or is too slow."""
        assert self._running.stdout is not None
        try:
            line = await asyncio.wait_for(self._running.stdout.readline(), within)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} said nothing for {within:g} s") from error
        if not line:
            await self.end()
            raise KeynetError(f"{self.name} ended early: {self._complaint()}")
        return line.decode().rstrip("\n")

    async def end(self) -> int:
        """End it in order, and give its exit status; killed when it takes too long. Idempotent."""
        process = self._running
        assert process.stdout is not None
        # After its last line it ends by itself: to signal it then would reap it behind asyncio.
        if process.returncode is None and not process.stdout.at_eof():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            await asyncio.wait_for(self._ended(process), END_TIMEOUT)
        except TimeoutError:
            process.kill()
            await self._ended(process)
        return process.returncode or 0

    async def _ended(self, process: Process) -> None:
        """Its output is read to the end, so that it cannot hang on a full pipe."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        while await process.stdout.read(65536):
            continue
        if self._reading is not None:
            await self._reading
        await process.wait()

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise KeynetError(f"{self.name} was not started")
        return self._process

    async def _read_complaints(self) -> None:
        """Keep the last of what it says on standard error."""
        assert self._running.stderr is not None
        while data := await self._running.stderr.read(4096):
            self._complaints = (self._complaints + data)[-4096:]

    def _complaint(self) -> str:
        lines = self._complaints.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it gave no reason"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            await asyncio.shield(self.end())


class NodeChild(Child):
    """`keynet run --json` as a process of its own."""

    def __init__(self, name: str, state: Path, *flags: str) -> None:
        super().__init__(name, "keynet", "run", "--json", "--state", str(state), *flags)
        self.state = state

    async def event(self, name: str) -> dict[str, Any]:
        """Its next event of that name; others are passed over. Raises as `line` does."""
        while True:
            event: dict[str, Any] = json.loads(await self.line())
            if event["event"] == name:
                return event
