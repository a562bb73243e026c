"""Who is asking: the server's half of long-term credentials (RFC 8489 section 9.2.4). Pure.

Whoever has not proved its address by a nonce gets few and short answers: at most three times the
bytes of the question, and so many a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from keynet.rates import Rates
from keynet.relay.allocation import Allocation
from keynet.relay.codec import Class, ErrorCode, Message, encode
from keynet.relay.credentials import MAX_USERNAME, Credentials, Nonces, integrity_key
from keynet.udp.path import Path

MAX_GAIN = 3
"""An answer to a stranger has at most so many times the bytes of its question."""
RATE, BURST = 20.0, 100.0
"""Answers to strangers at one IP address: a second, and at once."""


class Member(NamedTuple):
    """Somebody who knows the password."""

    username: str
    key: bytes


class Gate:
    """Tells members from strangers."""

    def __init__(
        self, password_of: Callable[[str], str | None], realm: str, nonces: Nonces
    ) -> None:
        """`password_of` gives a username's password, None when it is good for nothing; `realm`
        has at most 12 bytes, or no Allocate would be long enough to answer."""
        self.counters: Counter[str] = Counter()
        self._password_of = password_of
        self._realm = realm
        self._nonces = nonces
        self._rates: Rates[str] = Rates(RATE, BURST)

    def admit(
        self, request: Message, client: Path, known: Allocation | None, now: float
    ) -> Member | bytes | None:
        """Who sent a request; or the answer to somebody who has not shown it; or silence.

        Whoever has an allocation (`known`) keeps its key for as long as that, though the
        credentials that it was made with have expired.
        """
        member = self._member(request, client, known, now)
        if isinstance(member, Member):
            return member
        self.counters[member.reason.lower()] += 1
        return self.answer_stranger(
            request, self._challenge(request, client, member, now), client, now
        )

    def answer_stranger(
        self, request: Message, answer: bytes, client: Path, now: float
    ) -> bytes | None:
        """The answer, when it may be given."""
        if len(answer) > MAX_GAIN * request.size:
            self.counters["questions too short to answer"] += 1
        elif self._rates.take(client.remote.host, now):
            self.counters["questions above the rate"] += 1
        else:
            return answer
        return None

    def _member(
        self, request: Message, client: Path, known: Allocation | None, now: float
    ) -> Member | ErrorCode:
        if not request.is_signed:
            return ErrorCode.UNAUTHORIZED
        attributes = request.attributes
        if not {"USERNAME", "REALM", "NONCE"} <= attributes.keys():
            return ErrorCode.BAD_REQUEST
        if not self._nonces.is_fresh(attributes["NONCE"], str(client.remote), now):
            return ErrorCode.STALE_NONCE
        username = attributes["USERNAME"]
        key = self._key_of(username, known) if attributes["REALM"] == self._realm else None
        if key is None or not request.is_authentic(key):
            return ErrorCode.UNAUTHORIZED
        return Member(username, key)

    def _key_of(self, username: str, known: Allocation | None) -> bytes | None:
        if known is not None and known.username == username:
            return known.key
        if len(username.encode()) > MAX_USERNAME:
            return None
        password = self._password_of(username)
        if password is None:
            return None
        return integrity_key(Credentials(username, password), self._realm)

    def _challenge(self, request: Message, client: Path, code: ErrorCode, now: float) -> bytes:
        attributes: dict[str, Any] = {"ERROR-CODE": (int(code), code.reason)}
        if code is not ErrorCode.BAD_REQUEST:
            attributes["REALM"] = self._realm
            attributes["NONCE"] = self._nonces.make(str(client.remote), now)
        return encode(request.method, Class.ERROR, request.transaction_id, attributes)
