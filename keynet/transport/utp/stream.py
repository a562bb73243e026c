"""One stream of a uTP transport connection: a uTP connection with its own secure channel inside.

It moves bytes between the two and says what changed; `engine.Engine` keeps the set of streams and
turns changes into events.
"""

from __future__ import annotations

from collections.abc import Callable

from keynet.engine import Buffer
from keynet.errors import HandshakeFailed, KeynetError, LocallyClosed
from keynet.transport.api import StreamId
from keynet.transport.channel import SecureChannel
from keynet.transport.utp.connection import State, UtpConnection
from keynet.transport.utp.unproved import NoChannel

SEND_LIMIT = 1 << 20
"""Bytes of ciphertext that may wait for the window; the outgoing BIO is the queue."""
SEND_LOW = 1 << 19
WRITE_SIZE = 65536
"""Plaintext given to TLS at a time: whole records, and a short stay in the cache."""

ALL = 1 << 40


class UtpStream:
    """The glue between `UtpConnection` and `SecureChannel`."""

    __slots__ = (
        "_make_channel",
        "announced",
        "armed_at",
        "channel",
        "ended",
        "finishing",
        "held",
        "local",
        "secured",
        "stream_id",
        "tail",
        "told_readable",
        "utp",
        "wants_write",
    )

    def __init__(
        self,
        stream_id: StreamId,
        utp: UtpConnection,
        channel: SecureChannel,
        make_channel: Callable[[bool], SecureChannel],
    ) -> None:
        """`make_channel` is called with False once an answered dialer has proved its address."""
        self.stream_id = stream_id
        self.utp = utp
        self.channel = channel
        self._make_channel = make_channel
        self.local = not isinstance(channel, NoChannel)
        """Opened by this side."""
        self.secured = False
        """The channel inside is established."""
        self.announced = False
        """The user of the engine knows of it."""
        self.ended = False
        """The peer's clean end was read."""
        self.held = 1
        """Bytes, at most, that the channel was fed and has not given: it bounds what is fed, or a
        reader in small steps would fill it. Not 0 yet: the handshake may end with first bytes."""
        self.finishing = False
        """This side's end was written."""
        self.tail = b""
        """Bytes that the peer had finished before it reset the stream, not read yet."""
        self.told_readable = False
        self.wants_write = False
        self.armed_at = float("inf")

    def advance_handshake(self) -> bool:
        """Give the channel what arrived; True once it is established."""
        if self.utp.state is State.SYN_RECEIVED:
            return False
        if isinstance(self.channel, NoChannel):
            self.channel = self.utp.outbound.source = self._make_channel(False)
        channel = self.channel
        while not channel.established and channel.error is None:
            piece = self.utp.inbound.take()
            if piece is None:
                break
            channel.feed(piece)
        connected = self.utp.state in (State.CONNECTED, State.FINISHED)
        self.secured = connected and channel.established and channel.error is None
        self.utp.proved = self.secured
        return self.secured

    def read(self, max_bytes: int) -> bytes:
        """Decrypt and return up to about `max_bytes`; notes the clean end."""
        channel, inbound = self.channel, self.utp.inbound
        if self.tail:
            data, self.tail = self.tail[:max_bytes], self.tail[max_bytes:]
            return data
        if not self.held and not inbound.unread and not inbound.eof:
            self.told_readable = False
            return b""
        data = self._decrypt(max_bytes)
        while not data and inbound.unread:  # that was not a whole record yet
            data = self._decrypt(max_bytes)
        if inbound.update_is_due:
            self.utp.ack_due = True
        if not data:
            self.told_readable = False
            if inbound.eof and not inbound.unread:
                channel.feed_eof()
            self.ended = channel.eof_received
        return data

    def _decrypt(self, max_bytes: int) -> bytes:
        channel, inbound = self.channel, self.utp.inbound
        while self.held < max_bytes and (piece := inbound.take()) is not None:
            channel.feed(piece)
            self.held += len(piece)
        data = channel.read(max_bytes)
        self.held = max(1, self.held - len(data)) if len(data) >= max_bytes else 0
        return data

    def write(self, data: Buffer) -> int:
        """Encrypt as much as the queue may hold; returns how many bytes that was."""
        if self.finishing:
            raise LocallyClosed("the stream's end was already written")
        view = memoryview(data)
        if self.utp.state is State.CLOSED:
            return len(view)  # nobody will hear it; the reader has yet to come to the end
        taken = 0
        while taken < len(view) and self.channel.pending < SEND_LIMIT:
            piece = view[taken : taken + WRITE_SIZE]
            self.channel.write(piece)
            taken += len(piece)
        self.wants_write = self.utp.outbound.hold_tail = taken < len(view)
        return taken

    def finish(self) -> None:
        """Write the clean end: the channel's own, then a FIN. Idempotent."""
        if not self.finishing:
            self.finishing = True
            self.wants_write = self.utp.outbound.hold_tail = False
            self.channel.write_eof()
            self.utp.finish()

    def last_words(self) -> KeynetError | None:
        """The fault, after a look at what came before a RESET: a TLS alert says more than that."""
        if self.utp.error is not None and self.channel.error is None:
            self.read(WRITE_SIZE)
        return self.fault

    @property
    def has_room(self) -> bool:
        """The writer may go on."""
        return self.channel.pending < SEND_LOW or self.utp.state is State.CLOSED

    @property
    def over(self) -> bool:
        """Nothing more can happen: it broke, or both ends were seen.

        What the peer had finished before a RESET (it closed the connection, say) can be read.
        """
        state = self.utp.state
        if state is State.CLOSED:
            return not self._keeps_tail()
        return state is State.FINISHED and self.ended

    def _keeps_tail(self) -> bool:
        if not self.tail and not self.ended and self.announced and self.utp.inbound.eof:
            self.tail = self.read(ALL)
        return bool(self.tail)

    @property
    def fault(self) -> KeynetError | None:
        """Why it broke, in the order of what explains most."""
        if self.channel.error is not None:
            return self.channel.error
        if self.utp.error is not None:
            return self.utp.error
        if self.utp.inbound.eof and not self.channel.established:
            return HandshakeFailed("the peer ended the stream during the handshake")
        return None
