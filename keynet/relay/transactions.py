"""A TURN client's requests that wait for answers, and when each is sent again. Pure.

RFC 8489 section 6.2.1: the wait doubles from 0.5 s; seven attempts, the last with a wait of its
own, make 39.5 s. Over TCP a request is sent once and waited for as long (section 6.2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keynet.address import SocketAddress
from keynet.relay.codec import Method

FIRST_WAIT = 0.5
ATTEMPTS = 7
LAST_WAIT = 8.0
RELIABLE_WAIT = 39.5
MAX_WAITING = 1024
"""Transactions at once: two for each peer that a client has, and some."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; the same request may take several transactions."""

    method: Method
    attributes: Mapping[str, Any]
    peer: SocketAddress | None = None
    """Whom a permission or a channel is for."""
    attempts: int = ATTEMPTS
    renewals: int = 0
    """How often it has been signed anew because the server asked for that."""


@dataclass(slots=True)
class Transaction:
    """One request under way."""

    request: Request
    datagram: bytes = field(repr=False)
    key: bytes | None = field(repr=False)
    """What signed it, and signs its answer."""
    attempts_left: int = 0
    wait: float = FIRST_WAIT
    due_at: float = 0.0


class Transactions:
    """The table. `due` gives what is to be sent and what has had no answer."""

    def __init__(self, *, reliable: bool) -> None:
        self._reliable = reliable
        self._waiting: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def start(
        self, transaction_id: bytes, request: Request, datagram: bytes, key: bytes | None,
        now: float,
    ) -> bool:  # fmt: skip
        """Send it at the next `due`; False when too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        attempts = 1 if self._reliable else request.attempts
        self._waiting[transaction_id] = Transaction(request, datagram, key, attempts, due_at=now)
        return True

    def find(self, transaction_id: bytes) -> Transaction | None:
        """The transaction that an answer belongs to."""
        return self._waiting.get(transaction_id)

    def end(self, transaction_id: bytes) -> None:
        """It has been answered. Idempotent."""
        self._waiting.pop(transaction_id, None)

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()

    def next_deadline(self) -> float | None:
        """When `due` next has something."""
        return min((one.due_at for one in self._waiting.values()), default=None)

    def due(self, now: float) -> tuple[list[bytes], list[Request]]:
        """The datagrams to send (again), and the requests that are given up."""
        datagrams: list[bytes] = []
        silent: list[Request] = []
        for transaction_id, one in list(self._waiting.items()):
            if one.due_at > now:
                continue
            if not one.attempts_left:
                del self._waiting[transaction_id]
                silent.append(one.request)
                continue
            datagrams.append(one.datagram)
            self._arm(one, now)
        return datagrams, silent

    def _arm(self, one: Transaction, now: float) -> None:
        one.attempts_left -= 1
        wait = one.wait if one.attempts_left else LAST_WAIT
        one.due_at = now + (RELIABLE_WAIT if self._reliable else wait)
        one.wait *= 2
