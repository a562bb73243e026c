"""What stands for the secure channel of an answered stream until the dialer's address is proved.

A SYN can be forged by anyone and costs its sender 20 bytes; a TLS object costs us 20 kB. So it is
made when the first packet comes that acknowledges our SYN-ACK, which only its receiver can send.
"""

from __future__ import annotations

from keynet.engine import Buffer


class NoChannel:
    """A `keynet.transport.channel.SecureChannel` with nothing in it, for ever."""

    established = False
    peer = None
    eof_received = False
    error = None
    pending = 0

    def feed(self, ciphertext: Buffer) -> None:
        """Nothing is fed before there is a channel."""

    def feed_eof(self) -> None: ...

    def read(self, max_bytes: int) -> bytes:
        return b""

    def write(self, data: Buffer) -> None: ...

    def write_eof(self) -> None: ...

    def pull(self, max_bytes: int) -> Buffer:
        return b""
