"""Why a connection ended, in keynet's terms: the one place where aioquic's reasons are translated.

What the peer says of its reasons is not shown: the code says all that is needed.
"""

from __future__ import annotations

from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from keynet.errors import (
    ClosedByPeer,
    ConnectionLost,
    HandshakeFailed,
    KeynetError,
    RemoteProtocolError,
)
from keynet_quic.connection import IDLE_TIMEOUT

REFUSED = QuicErrorCode.CRYPTO_ERROR + AlertDescription.bad_certificate
"""What tells a peer that its certificates do not prove what they should."""
CANCELLED = 0
"""The code of a reset: there is nothing to tell the peer beyond it."""

_IDLE = "Idle timeout"


def told_by_peer(event: ConnectionTerminated, *, established: bool) -> KeynetError:
    """For a CONNECTION_CLOSE that arrived."""
    if event.error_code == REFUSED:
        why = "the peer refused this node's certificates"
        return ClosedByPeer(why) if established else HandshakeFailed(why)
    if established:
        if event.error_code == QuicErrorCode.NO_ERROR:
            return ClosedByPeer("the peer closed the connection")
        return ClosedByPeer(f"the peer closed the connection with {_named(event)}")
    return HandshakeFailed(f"the peer broke off the handshake with {_named(event)}")


def found_here(event: ConnectionTerminated, *, established: bool) -> KeynetError:
    """For what aioquic itself ended: silence, or a peer that breaks the protocol."""
    if event.reason_phrase == _IDLE:
        silence = f"nothing was heard for {IDLE_TIMEOUT:g} s"
        return ConnectionLost(silence) if established else HandshakeFailed(silence)
    what = f"{event.reason_phrase} ({_named(event)})"
    if established:
        return RemoteProtocolError(f"QUIC: {what}")
    return HandshakeFailed(f"the QUIC handshake failed: {what}")


def _named(event: ConnectionTerminated) -> str:
    """The code in words, where it has any."""
    alert = event.error_code - QuicErrorCode.CRYPTO_ERROR
    if 0 <= alert <= 0xFF:
        known = {one.value: one.name for one in AlertDescription}
        return f"the TLS alert {known.get(alert, alert)}"
    names = {code.value: code.name for code in QuicErrorCode}
    return names.get(event.error_code, f"the code {event.error_code:#x}")
