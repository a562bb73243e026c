"""Checking Proxy-Authorization against the proxy's token. Nothing here is ever logged."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from keynet.rpc.proxy.head import BadHead

USER = "keynet"
"""The user name of Basic credentials; the token is the password."""


def basic(token: str) -> str:
    """The value of Proxy-Authorization that shows `token`."""
    return "Basic " + base64.b64encode(f"{USER}:{token}".encode()).decode("ascii")


class Credentials:
    """The token that clients must show, or None where none is needed."""

    def __init__(self, token: str | None) -> None:
        self._accepted: tuple[bytes, ...] | None = None
        if token is not None:
            self._accepted = (f"{USER}:{token}".encode(), token.encode())

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def needed(self) -> bool:
        return self._accepted is not None

    def check(self, shown: Sequence[bytes]) -> None:
        """Raise BadHead (407) unless `shown` is exactly one value that holds the token."""
        if self._accepted is None:
            return
        if not shown:
            raise BadHead(407, f"credentials needed: Basic with user {USER} and the token")
        if len(shown) > 1 or not self._matches(shown[0], *self._accepted):
            raise BadHead(407, f"wrong credentials: Basic with user {USER} and the token needed")

    def _matches(self, value: bytes, pair: bytes, token: bytes) -> bool:
        scheme, _, rest = value.strip().partition(b" ")
        match scheme.lower():
            case b"basic":
                return hmac.compare_digest(_decoded(rest), pair)
            case b"bearer":
                return hmac.compare_digest(rest.strip(), token)
        return False


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return b""
