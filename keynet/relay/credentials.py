"""Who may use a relay: long-term credentials, ephemeral ones, and nonces that nobody stores. Pure.

Long-term credentials are RFC 8489 section 9.2's. Ephemeral ones follow the convention that TURN
servers share (coturn's `use-auth-secret`): the username is `expiry:name`, the password is made of
it with a secret that only servers know, so that no server keeps a list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_USERNAME = 508
"""Bytes (RFC 8489 section 14.3)."""

_TIME = struct.Struct("!I")
_MAC_BYTES = 14
"""With the time that makes 24 characters, short enough for an answer to a stranger."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows to a relay."""

    username: str
    """For an ephemeral one `expiry:name`."""
    password: str = field(repr=False)


def integrity_key(credentials: Credentials, realm: str) -> bytes:
    """The key of MESSAGE-INTEGRITY (RFC 8489 section 9.2.2)."""
    text = ":".join((credentials.username, realm, _opaque(credentials.password)))
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def ephemeral(secret: bytes, name: str, expires_at: int) -> Credentials:
    """Credentials for `name`, good until `expires_at` (Unix time in seconds)."""
    username = f"{expires_at}:{name}"
    return Credentials(username, _password(secret, username))


def owner_of(username: str) -> str:
    """Whose a username is: the name in an ephemeral one, else all of it."""
    expiry, colon, name = username.partition(":")
    return name if colon and name and expiry.isascii() and expiry.isdigit() else username


class SharedSecret:
    """Knows the password of every ephemeral username that has not expired."""

    def __init__(self, secret: bytes, unix_time: Callable[[], float]) -> None:
        self._secret = secret
        self._unix_time = unix_time

    def password(self, username: str) -> str | None:
        """None for one that has expired, or is no ephemeral username at all."""
        expiry = username.partition(":")[0]
        if len(expiry) > 12 or not (expiry.isascii() and expiry.isdigit()):
            return None
        return _password(self._secret, username) if int(expiry) > self._unix_time() else None


class Nonces:
    """Nonces that prove themselves: the time, and a MAC over it and the client's address."""

    def __init__(self, secret: bytes, lifetime: float) -> None:
        """`lifetime` in seconds; `secret` is the server's own."""
        self._secret = secret
        self._lifetime = lifetime

    def make(self, client: str, now: float) -> bytes:
        """A nonce for a client, 24 characters."""
        return self._at(int(now) & 0xFFFFFFFF, client)

    def is_fresh(self, nonce: bytes, client: str, now: float) -> bool:
        """Whether this server made it for this client, and not too long ago."""
        try:
            (made_at,) = _TIME.unpack_from(base64.b64decode(nonce, validate=True))
        except (binascii.Error, struct.error):
            return False
        age = (int(now) - made_at) & 0xFFFFFFFF
        return age <= self._lifetime and hmac.compare_digest(nonce, self._at(made_at, client))

    def _at(self, made_at: int, client: str) -> bytes:
        head = _TIME.pack(made_at)
        mac = hmac.digest(self._secret, head + client.encode(), "sha256")[:_MAC_BYTES]
        return base64.b64encode(head + mac)


def _password(secret: bytes, username: str) -> str:
    return base64.b64encode(hmac.digest(secret, username.encode(), "sha1")).decode()


def _opaque(text: str) -> str:
    """A password as the OpaqueString profile compares it (RFC 8265 section 4.2.2)."""
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return unicodedata.normalize("NFC", spaced)
