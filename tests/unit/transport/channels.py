"""Two TLS channels with a wire between them, and a hand that forges records on it."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keynet.address import NodeId
from keynet.identity import Identity
from keynet.transport.tls import TlsChannel

HANDSHAKE, APPLICATION = 22, 23
KEY_UPDATE_REQUEST = b"\x18\x00\x00\x01\x01"
"""RFC 8446 section 4.6.3: type 24, length 1, update_requested."""


def flush(source: TlsChannel, sink: TlsChannel, piece: int = 1200) -> int:
    """Carry what is pending one way; returns how many bytes that was."""
    total = 0
    while source.pending:
        data = source.pull(piece)
        total += len(data)
        sink.feed(data)
    return total


def shake(client: TlsChannel, server: TlsChannel, piece: int = 1200) -> None:
    """Carry bytes both ways until neither has any."""
    while client.pending or server.pending:
        flush(client, server, piece)
        flush(server, client, piece)


def connected(
    dialer: Identity, listener: Identity, expected: NodeId | None = None
) -> tuple[TlsChannel, TlsChannel]:
    """A client and a server after a handshake that went well."""
    client = TlsChannel(dialer, server=False, expected=expected or listener.node_id)
    server = TlsChannel(listener, server=True, expected=None)
    shake(client, server)
    assert client.error is None
    assert server.error is None
    return client, server


class RecordForger:
    """Seals TLS 1.3 records with a traffic secret, as a peer that follows no rules would."""

    def __init__(self, secret: bytes) -> None:
        self._start(secret)

    def _start(self, secret: bytes) -> None:
        self._secret, self._sequence = secret, 0
        self._cipher = AESGCM(_expand_label(secret, b"key", 16))
        self._iv = _expand_label(secret, b"iv", 12)

    def seal(self, content_type: int, content: bytes) -> bytes:
        """One record (RFC 8446 section 5.2)."""
        inner = content + bytes((content_type,))
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._iv, "big") ^ self._sequence
        self._sequence += 1
        return header + self._cipher.encrypt(nonce.to_bytes(12, "big"), inner, header)

    def key_update(self) -> bytes:
        """A KeyUpdate that asks for one in return; later records are under the next key."""
        record = self.seal(HANDSHAKE, KEY_UPDATE_REQUEST)
        self._start(_expand_label(self._secret, b"traffic upd", 32))
        return record


def _expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\x00"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)
