"""SecureChannel: what a stream engine asks of the encryption inside it. Sans-IO; no TLS here."""

from __future__ import annotations

from typing import Protocol

from keynet.engine import Buffer
from keynet.errors import KeynetError
from keynet.identity import PeerIdentity


class SecureChannel(Protocol):
    """Plaintext on one side, ciphertext on the other, and a proof of who the peer is.

    The rhythm: `feed` what arrived, look at `error` and `established`, `read` what it gave, then
    `pull` while `pending`. Remote bytes never raise: they set `error`, after which `read` gives
    nothing more, and `pull` still gives the alert that tells the peer why.
    """

    @property
    def established(self) -> bool:
        """Whether the handshake is done and the peer has proved its identity."""

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the peer is; None until `established`."""

    @property
    def eof_received(self) -> bool:
        """Whether the peer ended its bytes cleanly, and all of them have been read."""

    @property
    def error(self) -> KeynetError | None:
        """Why the channel broke. Set once."""

    @property
    def pending(self) -> int:
        """Bytes of ciphertext waiting to be pulled."""

    def feed(self, ciphertext: Buffer) -> None:
        """Take ciphertext in order; it is copied. Advances the handshake.

        What has been fed and not read is held: the caller bounds it by its receive window.
        """

    def feed_eof(self) -> None:
        """No more ciphertext will come, and all there was has been read.

        Without the channel's own end before it, this is a broken stream: `error` is set.
        """

    def read(self, max_bytes: int) -> bytes:
        """Decrypted bytes, several records joined; b"" when there are none now."""

    def write(self, data: Buffer) -> None:
        """Encrypt `data`, at most 64 KiB at a time. LocalProtocolError unless established."""

    def write_eof(self) -> None:
        """End this side's bytes; reading goes on. Idempotent."""

    def pull(self, max_bytes: int) -> Buffer:
        """Take ciphertext to send, in order; it may be less than asked while more is pending.

        Use it at once: the next call of any channel may overwrite it.
        """
