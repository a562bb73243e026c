"""Retry (RFC 9000 section 8.1.2): where strangers flood, each must show first that it is there.

An engine sees no address, so a token cannot name one. It is good for a short time and only once
instead: whoever wants to be answered must have received a datagram of its own. No address that is
merely claimed costs more than a Retry, which is smaller than what it answers.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

from aioquic.quic.packet import QuicHeader, encode_quic_retry
from aioquic.quic.retry import TOKEN_LIFETIME, QuicRetryTokenHandler

from keynet_quic.header import CONNECTION_ID_SIZE

RETRY_ABOVE = 32
"""Handshakes of strangers under way at once, above which others are sent a Retry."""
MAX_SPENT = 4096
"""Tokens that are remembered as used; with more in their lifetime, no other is taken."""

_NOWHERE = ("::", 0)
"""aioquic's tokens hold an address; ours is always this one."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A stranger who has shown that it receives what is sent to it."""

    original_id: bytes
    retry_id: bytes


class Strangers:
    """Handshakes under way of those who dialled us, and the tokens for more."""

    def __init__(self, limit: int = RETRY_ABOVE) -> None:
        self._limit = limit
        self._under_way: set[object] = set()
        self._tokens = QuicRetryTokenHandler()
        self._spent: dict[bytes, None] = {}
        self._spent_at: deque[tuple[float, bytes]] = deque()

    def joined(self, engine: object) -> None:
        self._under_way.add(engine)

    def settled(self, engine: object) -> None:
        """It has proved itself, or is gone. Idempotent."""
        self._under_way.discard(engine)

    @property
    def flooding(self) -> bool:
        return len(self._under_way) >= self._limit

    def retry(self, first: QuicHeader, now: float) -> bytes:
        """The Retry packet for a first datagram."""
        retry_id = os.urandom(CONNECTION_ID_SIZE)
        token = self._tokens.create_token(
            address=_NOWHERE,
            original_destination_connection_id=first.destination_cid,
            retry_source_connection_id=retry_id,
            now=now,
        )
        assert first.version is not None, "a long header has a version"
        return encode_quic_retry(
            version=first.version,
            source_cid=retry_id,
            destination_cid=first.source_cid,
            original_destination_cid=first.destination_cid,
            retry_token=token,
        )

    def admit(self, first: QuicHeader, now: float) -> Admitted | None:
        """Take the token that a first datagram carries; None when it has no good one."""
        if not first.token:
            return None
        self._forget_spent(now)
        retry_id = first.destination_cid
        if retry_id in self._spent or len(self._spent) >= MAX_SPENT:
            return None
        try:
            original_id = self._tokens.validate_token(
                address=_NOWHERE, destination_cid=retry_id, token=first.token, now=now
            )
        except ValueError:
            return None
        self._spent[retry_id] = None
        self._spent_at.append((now, retry_id))
        return Admitted(original_id, retry_id)

    def _forget_spent(self, now: float) -> None:
        while self._spent_at and now - self._spent_at[0][0] > TOKEN_LIFETIME:
            self._spent.pop(self._spent_at.popleft()[1], None)
