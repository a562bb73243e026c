"""TURN over a byte stream, TCP or TLS (RFC 8656 section 12.5, RFC 8489 section 6.2.2). Pure.

Messages stand back to back: STUN tells its own length, ChannelData too and is padded to a multiple
of four. The engines above see datagrams either way.
"""

from __future__ import annotations

import struct

from keynet.engine import Buffer, Datagrams
from keynet.errors import RemoteProtocolError
from keynet.relay.channel_data import OVERHEAD, is_number
from keynet.stun import HEADER, MAGIC_COOKIE

MAX_MESSAGE = HEADER + 0xFFFF

_SHORTEST_HEAD = 4
_COOKIE_END = 8


def frame(datagrams: Datagrams) -> bytes:
    """A batch as bytes of the stream. STUN messages are multiples of four already."""
    if not datagrams.stride % 4 and not len(datagrams.data) % 4:
        return bytes(datagrams.data)
    return b"".join(bytes(one) + bytes(-len(one) % 4) for one in datagrams)


class Deframer:
    """Cuts a stream into messages. Holds one unfinished message at most."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._error: RemoteProtocolError | None = None

    @property
    def error(self) -> RemoteProtocolError | None:
        """Why the stream cannot be read any further: end it. None while it can."""
        return self._error

    def feed(self, data: Buffer) -> list[bytes]:
        """The messages that are whole now, ChannelData without its padding; never raises.

        Look at `error` next. After an error everything is ignored.
        """
        messages: list[bytes] = []
        if self._error is not None:
            return messages
        self._held += data
        at = 0
        while (sizes := self._sizes(at)) is not None:
            size, padded = sizes
            if len(self._held) - at < padded:
                break
            messages.append(bytes(self._held[at : at + size]))
            at += padded
        del self._held[:at]
        return messages

    def _sizes(self, at: int) -> tuple[int, int] | None:
        """Bytes of the message that begins at `at`, without padding and with it."""
        if len(self._held) - at < _SHORTEST_HEAD:
            return None
        first, length = struct.unpack_from("!HH", self._held, at)
        if is_number(first):
            size = OVERHEAD + length
            return size, size + -size % 4
        cookie = self._held[at + 4 : at + _COOKIE_END]
        if first > 0x3FFF or length % 4 or not MAGIC_COOKIE.startswith(cookie):
            self._error = RemoteProtocolError("the stream carries something else than TURN")
            self._held.clear()
            return None
        return HEADER + length, HEADER + length
