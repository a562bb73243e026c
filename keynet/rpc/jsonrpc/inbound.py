"""Reading a session's stream, without keeping others from their turn."""

from __future__ import annotations

import asyncio

from keynet.rpc.api import ByteStream

TURN = 262_144
"""Bytes read before other tasks get a turn, should the stream always have more."""


class Inbound:
    """The way in of one session, for one reader."""

    __slots__ = ("_since_turn", "_stream")

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._since_turn = 0

    async def read(self) -> bytes:
        """The next bytes; b"" at the peer's clean end. Raises what broke the stream."""
        if self._since_turn >= TURN:
            self._since_turn = 0
            await asyncio.sleep(0)
        data = await self._stream.read()
        self._since_turn += len(data)
        return data
