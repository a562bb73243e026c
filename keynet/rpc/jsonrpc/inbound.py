"""Reading a session's stream, without keeping others from their turn."""

from __future__ import annotations

import asyncio

from keynet.rpc.api import ByteStream

TURN_BYTES = 262_144
TURN_LINES = 32
"""What a session is given before other tasks get a turn, should there always be more. Each line
costs, however short: a read full of tiny ones would hold up the node for seconds."""


class Inbound:
    """The way in of one session, for one reader."""

    __slots__ = ("_at", "_data", "_since_turn", "_stream")

    def __init__(self, stream: ByteStream, first: bytes = b"") -> None:
        """`first` are bytes of it that were read already."""
        self._stream = stream
        self._data = first
        self._at = 0
        self._since_turn = 0

    async def read(self) -> bytes:
        """The next bytes, with so many line ends at most; b"" at the peer's clean end. Raises what
        broke the stream."""
        if self._at == len(self._data):
            self._data, self._at = await self._stream.read(), 0
        elif self._at:
            self._since_turn = TURN_BYTES
        if self._since_turn >= TURN_BYTES:
            self._since_turn = 0
            await asyncio.sleep(0)
        piece = self._data[self._at : self._end()]
        self._at += len(piece)
        self._since_turn += len(piece)
        return piece

    def _end(self) -> int:
        """Where what is given next ends."""
        end = self._at
        for _ in range(TURN_LINES):
            end = self._data.find(b"\n", end) + 1
            if not end:
                return len(self._data)
        return end
