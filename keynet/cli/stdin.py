"""Standard input, line by line, without ever holding up the event loop or the command's end.

A daemon thread reads: an executor's thread that waits for a terminal would keep the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from keynet.errors import ConfigError

MAX_LINE = 8 << 20
"""Bytes; larger than any message that may be sent by default."""

_CHUNK = 65536


async def json_lines(descriptor: int = 0) -> AsyncIterator[Any]:
    """The JSON values of standard input, one a line; empty lines mean nothing.

    Raises ConfigError, with the line's number, for what is not JSON.
    """
    number = 0
    async for line in _lines(_Chunks(descriptor)):
        number += 1
        if line.strip() or len(line) > MAX_LINE:
            yield _value(line, number)


async def _lines(chunks: _Chunks) -> AsyncIterator[bytes]:
    """Lines without their newline; one of more than MAX_LINE bytes is cut off there."""
    held = bytearray()
    searched = 0
    while data := await chunks.next():
        held += data
        while (found := held.find(b"\n", searched)) >= 0:
            yield bytes(held[:found])
            del held[: found + 1]
            searched = 0
        searched = len(held)
        if searched > MAX_LINE:
            yield bytes(held)
            return
    yield bytes(held)


def _value(line: bytes, number: int) -> Any:
    if len(line) > MAX_LINE:
        raise ConfigError(f"line {number} of standard input has more than {MAX_LINE} bytes")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"line {number} of standard input is not JSON: {error}") from error


class _Chunks:
    """Reads when asked, in a thread of its own: os.read, so that it holds no lock at exit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Semaphore(0)
        self._read: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    async def next(self) -> bytes:
        """The next bytes; b"" at the end."""
        self._wanted.release()
        return await self._read.get()

    def _run(self) -> None:
        data = b"begin"
        while data:
            self._wanted.acquire()
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError:  # no terminal any more: that is the end
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._read.put_nowait, data)
