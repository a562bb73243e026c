"""A TURN client's requests: signed as the server says, sent again, matched with answers. Pure.

The first request is not signed; the server's 401 names a realm and a nonce to sign with, and 438 a
newer nonce (RFC 8489 section 9.2.5). Whoever uses this sees neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from keynet.relay import codec
from keynet.relay.codec import Class, ErrorCode, Message
from keynet.relay.credentials import Credentials, integrity_key
from keynet.relay.transactions import Request, Transaction, Transactions

MAX_RENEWALS = 3
MAX_CREDENTIAL = 763
"""Bytes of a realm or a nonce (RFC 8489 sections 14.9 and 14.10)."""


class Answer(NamedTuple):
    """What became of a request."""

    request: Request
    message: Message
    code: int = 0
    """The error's; 0 for success."""
    reason: str = ""
    """The server's own words, bounded and printable."""


class Requests:
    """What has been asked, and the credentials to ask with."""

    def __init__(
        self, credentials: Credentials, random_bytes: Callable[[int], bytes], *, reliable: bool
    ) -> None:
        self._credentials = credentials
        self._random_bytes = random_bytes
        self._transactions = Transactions(reliable=reliable)
        self._realm = ""
        self._nonce = b""
        self._key: bytes | None = None
        self.clear = self._transactions.clear
        self.due = self._transactions.due
        self.next_deadline = self._transactions.next_deadline

    @property
    def can_sign(self) -> bool:
        """Whether the server has said how."""
        return self._key is not None

    def start(self, request: Request, now: float) -> bool:
        """Send a request at the next `due`; False when too many wait for answers."""
        transaction_id = self._random_bytes(codec.TRANSACTION_ID_BYTES)
        attributes = dict(request.attributes)
        if self._key is not None:
            attributes |= self._signature()
        datagram = codec.encode(
            request.method, Class.REQUEST, transaction_id, attributes, self._key
        )
        return self._transactions.start(transaction_id, request, datagram, self._key, now)

    def answered(self, message: Message, now: float) -> Answer | str | None:
        """The answer that a message is; a word for why it is none; None when it was asked again."""
        transaction = self._transactions.find(message.transaction_id)
        if transaction is None or transaction.request.method is not message.method:
            return "answers to nothing"
        code, reason = message.error if message.message_class is Class.ERROR else (0, "")
        if message.message_class is Class.ERROR and not code:
            return "malformed"
        if not _may_be_believed(transaction, message, code):
            return "not authentic"
        self._transactions.end(message.transaction_id)
        answer = Answer(transaction.request, message, code, reason)
        unsigned = code == ErrorCode.UNAUTHORIZED and transaction.key is None
        if unsigned or code == ErrorCode.STALE_NONCE:
            return None if self._ask_again(answer, now) else answer
        return answer

    def _ask_again(self, challenge: Answer, now: float) -> bool:
        """Sign as the challenge says; False when that cannot be done, or has not helped."""
        attributes, request = challenge.message.attributes, challenge.request
        realm, nonce = attributes.get("REALM", self._realm), attributes.get("NONCE", b"")
        usable = 0 < len(nonce) <= MAX_CREDENTIAL and len(realm.encode()) <= MAX_CREDENTIAL
        if not usable or request.renewals >= MAX_RENEWALS:
            return False
        self._realm, self._nonce = realm, nonce
        self._key = integrity_key(self._credentials, realm)
        return self.start(replace(request, renewals=request.renewals + 1), now)

    def _signature(self) -> Mapping[str, Any]:
        return {
            "USERNAME": self._credentials.username,
            "REALM": self._realm,
            "NONCE": self._nonce,
        }


def _may_be_believed(transaction: Transaction, message: Message, code: int) -> bool:
    """An answer is signed like its request, but for the two that say how to sign."""
    challenge = code in (ErrorCode.UNAUTHORIZED, ErrorCode.STALE_NONCE)
    return challenge or transaction.key is None or message.is_authentic(transaction.key)
