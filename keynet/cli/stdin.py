"""Standard input, line by line, without ever holding up the event loop or the command's end.

A daemon thread reads: an executor's thread that waits for a terminal would keep the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from keynet.errors import ConfigError

MAX_LINE = 8 << 20
"""Bytes; larger than any message that may be sent by default."""


async def json_lines(source: BinaryIO | None = None) -> AsyncIterator[Any]:
    """The JSON values of standard input, one a line; empty lines mean nothing.

    Raises ConfigError, with the line's number, for what is not JSON.
    """
    lines = _Lines(sys.stdin.buffer if source is None else source)
    number = 0
    while line := await lines.next():
        number += 1
        if line.strip():
            yield _value(line, number)


def _value(line: bytes, number: int) -> Any:
    if len(line) > MAX_LINE:
        raise ConfigError(f"line {number} of standard input has more than {MAX_LINE} bytes")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"line {number} of standard input is not JSON: {error}") from error


class _Lines:
    """Reads one line ahead of whoever asks, in a thread of its own."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Semaphore(0)
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    async def next(self) -> bytes:
        """The next line; b"" at the end."""
        self._wanted.release()
        return await self._lines.get()

    def _run(self) -> None:
        line = b"\n"
        while line:
            self._wanted.acquire()
            line = self._source.readline(MAX_LINE + 1)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
