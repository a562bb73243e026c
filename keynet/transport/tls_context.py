"""What both ends of a TLS connection are set to: TLS 1.3, mutual, our verifier, our protocol.

The connection itself is in tls.py. Traps that shape this module:

- A Context is frozen by its first Connection, so there is one for each Identity: a rotation makes
  a new Identity, and so a new Context with the new chain.
- Only the verify callback can refuse a peer with an alert; there OpenSSL shows certificates one by
  one, and on the server the peer's chain as a whole is not to be had yet.
- OpenSSL leaves out, in silence, shown certificates that do not link up: see `TlsChannel`.
- pyOpenSSL switches partial writes on, which would cost one call for each 16 KiB record.
- OpenSSL's server sends two session tickets whatever the options say. Nothing is ever resumed:
  the session cache is off and OP_NO_TICKET makes the tickets empty names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from OpenSSL import SSL, crypto

from keynet.address import NodeId
from keynet.errors import ChainTooLong, HandshakeFailed, IdentityError
from keynet.identity import MAX_CHAIN, Identity, PeerIdentity, read_certificate, verify_chain

ALPN = b"keynet/1"

_CIPHERSUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_MODE_ENABLE_PARTIAL_WRITE = 1
_CHAIN_TOO_LONG = SSL.X509VerificationCodes.ERR_CERT_CHAIN_TOO_LONG


def utc_now() -> datetime:
    """The clock that certificates are judged by when none is passed in."""
    return datetime.now(UTC)


class Verification:
    """What the verify callback collects for one connection, and what it concluded."""

    __slots__ = ("_certificates", "_expected", "_now", "error", "peer")

    def __init__(self, expected: NodeId | None, now: Callable[[], datetime]) -> None:
        self._expected = expected
        self._now = now
        self._certificates: dict[int, bytes] = {}
        self.error: IdentityError | None = None
        self.peer: PeerIdentity | None = None

    def certificate(self, certificate: crypto.X509, code: int, depth: int) -> bool:
        """OpenSSL walks from the root (the highest depth) to the leaf (0); judge at the leaf.

        What OpenSSL itself thinks of a certificate is passed over, but for the length.
        """
        if code == _CHAIN_TOO_LONG:
            self.error = ChainTooLong(f"the chain has more than {MAX_CHAIN} certificates")
            return False
        if code:
            return True
        self._certificates[depth] = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        return depth > 0 or self._judge()

    def _judge(self) -> bool:
        try:
            chain = [read_certificate(self._certificates[i]) for i in sorted(self._certificates)]
            self.peer = verify_chain(chain, self._expected, self._now())
        except IdentityError as error:
            self.error = error
        return self.error is None


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, _ok: int
) -> bool:
    verification: Verification = connection.get_app_data()
    return verification.certificate(certificate, code, depth)


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN not in offered:
        raise HandshakeFailed(f"the peer does not offer {ALPN.decode()}")
    return ALPN


_contexts: WeakKeyDictionary[Identity, SSL.Context] = WeakKeyDictionary()


def context_for(identity: Identity) -> SSL.Context:
    """The context that shows `identity`, for both roles; made once."""
    context = _contexts.get(identity)
    if context is None:
        context = _contexts[identity] = _new_context(identity)
    return context


def _new_context(identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(_CIPHERSUITES)
    context.use_certificate(identity.chain[0])
    context.use_privatekey(identity.private_key)
    for certificate in identity.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    context.set_verify_depth(MAX_CHAIN)
    context.set_alpn_protos([ALPN])
    context.set_alpn_select_callback(_select_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    return context
