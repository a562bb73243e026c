"""What every peer gives the workloads: a byte stream, and how to serve and dial one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

Address = dict[str, Any]
"""How to reach what a worker serves, as JSON: always `host` and `port`, and what the peer adds."""

CHUNK = 256 * 1024
"""Bytes read and written at a time by the workloads."""


class ByteStream(Protocol):
    """A reliable stream. `write` waits until there is room for more."""

    async def read(self) -> bytes:
        """Some bytes; b"" at the end."""

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


Handler = Callable[[ByteStream], Coroutine[Any, Any, None]]


class Peer(Protocol):
    """A way to carry bytes. Made once in each worker."""

    async def serve(self, host: str, handler: Handler) -> Address:
        """Listen on an ephemeral port of `host`, until the process ends."""

    async def dial(self, address: Address) -> ByteStream: ...

    async def close(self) -> None:
        """Let go of what dialling made."""
