"""OpenSSL's reads and writes without detours, for the data path.

pyOpenSSL's `recv` and `bio_read` allocate a buffer for each call and copy out of it, and tell that
nothing is left by raising: a fifth of the cost of receiving. Here one buffer a thread is filled.
Its `send` and `bio_write` look for errors after a success too: half of what a small message costs.
The names used (`OpenSSL._util`, `Connection._ssl` and `_from_ssl`, `_raise_ssl_error`) are not
public: where they are missing, the public calls do the same more slowly.
"""

from __future__ import annotations

import threading
from typing import Any

from OpenSSL import SSL

from keynet.engine import Buffer

try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib

    _NAMES = ("SSL_read", "SSL_write", "SSL_get_error", "BIO_read", "BIO_write")
    DIRECT = all(hasattr(_lib, name) for name in _NAMES) and hasattr(
        SSL.Connection, "_raise_ssl_error"
    )
    """Whether OpenSSL is asked directly."""
except ImportError:  # a pyOpenSSL that is built otherwise
    DIRECT = False

SCRATCH_BYTES = 1 << 18
RECORD_BYTES = 16384
"""The most plaintext that a TLS record carries (RFC 8446 section 5.1)."""


class _Scratch(threading.local):
    """One buffer a thread: OpenSSL is called without the interpreter's lock."""

    def __init__(self) -> None:
        buffer = bytearray(SCRATCH_BYTES)
        self.view = memoryview(buffer)
        self.pointer: Any = _ffi.from_buffer(buffer) if DIRECT else None


_scratch = _Scratch()


def read_records(connection: SSL.Connection, max_bytes: int) -> tuple[bytes, SSL.Error | None]:
    """Decrypt up to `max_bytes` (at most SCRATCH_BYTES at a time).

    Returns what there was, and the error that ended it: WantReadError when nothing is left,
    ZeroReturnError at the peer's clean end, None when `max_bytes` was reached.
    """
    if not DIRECT:
        return _read_publicly(connection, max_bytes)
    pointer, ssl, filled = _scratch.pointer, connection._ssl, 0
    max_bytes = min(max_bytes, SCRATCH_BYTES)
    while filled < max_bytes:
        count = _lib.SSL_read(ssl, pointer + filled, max_bytes - filled)
        if count <= 0:
            return bytes(_scratch.view[:filled]), _error(connection, count)
        filled += count
    return bytes(_scratch.view[:filled]), None


_WANT_READ = SSL.WantReadError()


def _error(connection: SSL.Connection, result: int) -> SSL.Error:
    """What a failed call means; the usual answer, that nothing is left, costs no exception."""
    if _lib.SSL_get_error(connection._ssl, result) == _lib.SSL_ERROR_WANT_READ:
        return _WANT_READ
    try:
        connection._raise_ssl_error(connection._ssl, result)
    except SSL.Error as error:
        return error
    return SSL.Error([("", "", "an unknown fault")])


def _read_publicly(connection: SSL.Connection, max_bytes: int) -> tuple[bytes, SSL.Error | None]:
    chunks: list[bytes] = []
    try:
        while max_bytes > 0:
            chunks.append(connection.recv(min(max_bytes, RECORD_BYTES)))
            max_bytes -= len(chunks[-1])
    except SSL.Error as error:
        return b"".join(chunks), error
    return b"".join(chunks), None


def take_ciphertext(connection: SSL.Connection, max_bytes: int) -> Buffer:
    """Up to `max_bytes` out of the outgoing BIO; b"" when it is empty.

    What is returned may be a view of the thread's buffer: the next call in here overwrites it.
    """
    if DIRECT and max_bytes <= SCRATCH_BYTES:
        count = _lib.BIO_read(connection._from_ssl, _scratch.pointer, max_bytes)
        return _scratch.view[: max(0, count)]
    try:
        return connection.bio_read(max_bytes)
    except SSL.WantReadError:
        return b""


def write_records(connection: SSL.Connection, data: Buffer) -> SSL.Error | None:
    """Encrypt all of `data`, which is not empty; the error, if there was one."""
    if DIRECT:
        result = _lib.SSL_write(connection._ssl, _ffi.from_buffer(data), len(data))
        return None if result > 0 else _error(connection, result)
    try:
        connection.send(data)
    except SSL.Error as error:
        return error
    return None


def put_ciphertext(connection: SSL.Connection, data: Buffer) -> None:
    """Put `data`, which is not empty, into the incoming BIO."""
    if not DIRECT or _lib.BIO_write(connection._into_ssl, _ffi.from_buffer(data), len(data)) <= 0:
        connection.bio_write(data)
