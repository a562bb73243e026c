"""TLS 1.3 inside a stream: mutual, the peer's chain checked by our own verifier. Sans-IO.

Built on pyOpenSSL's memory BIOs, public API only; what both ends are set to is in tls_context.py.
The outgoing BIO is the FIFO of ciphertext: nothing is copied out of it before it is pulled. Traps
that shape this module:

- An empty `bio_write`, `send` or `recv(0)` is an error to OpenSSL, not a no-op.
- pyOpenSSL does not tell how much the outgoing BIO holds: `pending` is counted from what each
  record costs. Only OpenSSL's replies to KeyUpdate escape the count; see `_pull_rest`.
- A memory BIO never shrinks, and each write to it moves all that has not been read from it: little
  is put in at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from OpenSSL import SSL

from keynet.address import NodeId
from keynet.engine import Buffer
from keynet.errors import (
    BrokenLink,
    ConnectionLost,
    EmptyChain,
    HandshakeFailed,
    KeynetError,
    LocalProtocolError,
    RemoteProtocolError,
)
from keynet.identity import Identity, PeerIdentity
from keynet.transport.openssl import (
    RECORD_BYTES,
    put_ciphertext,
    read_records,
    take_ciphertext,
    write_records,
)
from keynet.transport.tls_context import ALPN, Verification, context_for, utc_now

RECORD_OVERHEAD = 22
"""Header 5, content type 1, tag 16: the same for every cipher suite offered."""

_SLACK = 256
"""Bytes asked for beyond the count: room for nine replies to KeyUpdate."""
_READS_BETWEEN_CHECKS = 32
_MAX_UNCOUNTED = 262144
_MAX_COLLECT = 65536
_MAX_FED = 65536
"""The incoming BIO gets no more once it may hold this; what a slow reader leaves waits outside."""


class TlsChannel:
    """One TLS connection in memory; implements keynet.transport.channel.SecureChannel.

    `expected` is the node id that the peer must prove, current or former; None takes any. The
    dialling side has its first flight pending at once. `now` tells the time that certificates are
    judged by.
    """

    __slots__ = (
        "_backlog",
        "_connection",
        "_fed",
        "_heard",
        "_out",
        "_reads",
        "_server",
        "_uncounted",
        "_verification",
        "_writable",
        "eof_received",
        "eof_sent",
        "error",
        "established",
        "peer",
        "pending",
    )

    def __init__(
        self,
        identity: Identity,
        *,
        server: bool,
        expected: NodeId | None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.established = False
        self.peer: PeerIdentity | None = None
        self.error: KeynetError | None = None
        self.eof_received = False
        self.eof_sent = False
        self.pending = 0
        self._out = memoryview(b"")
        """Ciphertext already taken out of the BIO; goes before what is in it."""
        self._backlog: list[bytes] = []
        """Ciphertext that the incoming BIO has no room for yet."""
        self._fed = 0
        """Bytes in the incoming BIO, at most."""
        self._reads = 0
        self._server = server
        self._uncounted = 0
        self._writable = False
        self._heard = False
        """Whether an application byte has come: a refusal is no longer the handshake's."""
        self._verification: Verification | None = Verification(expected, now)
        self._connection = SSL.Connection(context_for(identity), None)
        self._connection.set_app_data(self._verification)
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
            self._handshake()

    def feed(self, ciphertext: Buffer) -> None:
        """Take ciphertext in order. After an error or the peer's end it is dropped."""
        if not ciphertext or self.error is not None or self.eof_received:
            return
        if self._fed < _MAX_FED and not self._backlog:
            self._fed += len(ciphertext)
            put_ciphertext(self._connection, ciphertext)
        else:
            self._backlog.append(bytes(ciphertext))
        if not self.established:
            self._handshake()

    def feed_eof(self) -> None:
        """The stream ended: without close_notify before it, somebody cut it (RFC 8446 6.1)."""
        if self.error is None and not self.eof_received:
            self._fail(ConnectionLost("the stream broke off without a clean end (close_notify)"))

    def _refill(self) -> None:
        """Put as much of the backlog into the incoming BIO as it should hold; it is empty now."""
        count = 0
        while self._fed < _MAX_FED and count < len(self._backlog):
            piece = self._backlog[count]
            self._fed += len(piece)
            put_ciphertext(self._connection, piece)
            count += 1
        del self._backlog[:count]

    def read(self, max_bytes: int) -> bytes:
        """Decrypted bytes, several records joined; b"" when there are none now."""
        if not self.established or self.error is not None or self.eof_received:
            return b""
        data = self._receive(max_bytes)
        if self._backlog and not self._fed:
            data = self._receive_backlog(data, max_bytes)
        if data:
            self._heard = True
            self._reads += 1
            if self._reads >= _READS_BETWEEN_CHECKS:
                self._check_uncounted()
        return data

    def _receive_backlog(self, data: bytes, max_bytes: int) -> bytes:
        chunks, size = [data], len(data)
        while self._backlog and not self._fed and size < max_bytes:
            self._refill()
            chunks.append(self._receive(max_bytes - size))
            size += len(chunks[-1])
        return b"".join(chunks)

    def _receive(self, max_bytes: int) -> bytes:
        """Decrypt what the incoming BIO holds."""
        data, error = read_records(self._connection, max_bytes)
        if isinstance(error, SSL.WantReadError):
            self._fed = 0
        elif isinstance(error, SSL.ZeroReturnError):
            self.eof_received = True
            self._backlog.clear()
        elif error is not None:
            self._fail(self._classified(error))
        return data

    def write(self, data: Buffer) -> None:
        """Encrypt `data`, at most 64 KiB at a time, into the outgoing BIO.

        Raises LocalProtocolError before `established` and after `write_eof`; after `error` the
        bytes are dropped.
        """
        size = len(data)
        if not self._writable:
            self._refuse_write()
            return
        if not size:
            return
        error = write_records(self._connection, data)
        if error is not None:
            self._fail(self._classified(error))
            return
        self.pending += size + RECORD_OVERHEAD * -(-size // RECORD_BYTES)

    def _refuse_write(self) -> None:
        if self.error is None:
            state = "ended" if self.eof_sent else "not yet established"
            raise LocalProtocolError(f"write on a TLS channel that is {state}")

    def write_eof(self) -> None:
        """Send close_notify (RFC 8446 section 6.1); reading goes on. Idempotent.

        Raises LocalProtocolError before `established`.
        """
        if self.eof_sent or self.error is not None:
            return
        if not self.established:
            self._refuse_write()
        self.eof_sent = True
        self._writable = False
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            self._fail(self._classified(error))
            return
        self._collect()

    def pull(self, max_bytes: int) -> Buffer:
        """Take ciphertext to send, in order; it may be less than asked while more is pending.

        Use it at once: the next call of any channel may overwrite it.
        """
        data: Buffer
        if self._out:
            data, self._out = self._out[:max_bytes], self._out[max_bytes:]
        elif max_bytes >= self.pending:
            return self._pull_rest(max_bytes) if self.pending else b""
        else:
            data = take_ciphertext(self._connection, max_bytes) if max_bytes > 0 else b""
        self.pending -= len(data)
        return data

    def _pull_rest(self, max_bytes: int) -> Buffer:
        """Take all that is counted, and see whether there is more.

        OpenSSL answers a peer's KeyUpdate while reading, which is not in the count; without this
        look beyond it the last bytes of a write would stay behind.
        """
        asked = self.pending + _SLACK
        data = take_ciphertext(self._connection, asked)
        self.pending = 0
        if len(data) > max_bytes:
            self._out = memoryview(bytes(data[max_bytes:]))
            data = bytes(data[:max_bytes])
            self._collect()
        elif len(data) == asked:
            self._collect()
        return data

    def _collect(self) -> None:
        """Take everything out of the BIO, which makes `pending` exact."""
        chunks: list[Buffer] = [self._out]
        try:
            while True:
                chunks.append(self._connection.bio_read(_MAX_COLLECT))
        except SSL.WantReadError:
            pass
        self._out = memoryview(b"".join(chunks))
        self.pending = len(self._out)

    def _check_uncounted(self) -> None:
        """Now and then: a peer must not grow the BIO by asking for KeyUpdates and not reading."""
        self._reads = 0
        counted = self.pending
        self._collect()
        found = self.pending - counted
        self._uncounted = self._uncounted + found if counted else found
        if self._uncounted > _MAX_UNCOUNTED:
            self._fail(RemoteProtocolError("the peer asks for new keys and takes no answer"))

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._fed = 0
            self._collect()
        except SSL.Error as error:
            self._fail(self._classified(error))
        except HandshakeFailed as error:
            self._fail(error)
        else:
            self._finish()
            self._collect()

    def _finish(self) -> None:
        verification, self._verification = self._verification, None
        self._connection.set_app_data(None)
        if self._connection.get_alpn_proto_negotiated() != ALPN:
            self._fail(HandshakeFailed(f"the peer does not speak {ALPN.decode()}"))
        elif verification is None or verification.peer is None:
            self._fail(EmptyChain("the peer showed no certificate"))
        elif self._shown() != len(verification.peer.chain):
            self._fail(BrokenLink("the peer showed certificates that are not of its chain"))
        else:
            self.peer = verification.peer
            self.established = self._writable = True

    def _shown(self) -> int:
        """How many certificates the peer sent: OpenSSL leaves out those that do not link up."""
        chain = self._connection.get_peer_cert_chain() or []
        return len(chain) + self._server  # a server is not given the leaf here

    def _fail(self, error: KeynetError) -> None:
        """Break the channel; what OpenSSL wrote, an alert, can still be pulled."""
        self.error = error
        self._writable = False
        self._backlog.clear()
        self._collect()

    def _classified(self, error: SSL.Error) -> KeynetError:
        """The KeynetError for what OpenSSL reports, chained to it."""
        found = self._found(error)
        found.__cause__ = error
        return found

    def _found(self, error: SSL.Error) -> KeynetError:
        if self._verification is not None and self._verification.error is not None:
            return self._verification.error
        reason = _reason(error)
        if "did not return a certificate" in reason:
            return EmptyChain("the peer showed no certificate")
        if "alert" in reason and not self._heard:
            return HandshakeFailed(f"the peer refused the handshake: {reason}")
        if not self.established:
            return HandshakeFailed(f"the TLS handshake failed: {reason}")
        return RemoteProtocolError(f"TLS: {reason}")


def _reason(error: SSL.Error) -> str:
    """The last reason in OpenSSL's queue of (library, function, reason)."""
    queue = error.args[0] if error.args else None
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    return str(error) or type(error).__name__
