"""Which nonces of ours are good, and which offers have been seen: against replay. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from keynet.errors import RemoteProtocolError
from keynet.signalling.messages import NONCE_BYTES

NONCE_LIFETIME = 120.0
"""Seconds for which a nonce is given out; for as long again it is still taken: registrations that
carry it live no longer."""
SESSION_MEMORY = 2 * NONCE_LIFETIME
"""Seconds that a session is remembered: as long as any nonce is good, or an offer could come
again."""
MAX_SESSIONS = 4096


class Nonces:
    """The nonce of this node's registrations: a new one now and then, the one before still good."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """`random` gives so many unpredictable bytes."""
        self._random = random
        self._made: list[tuple[bytes, float]] = []

    def current(self, now: float) -> bytes:
        """What a registration carries from now on."""
        if not self._made or now - self._made[0][1] >= NONCE_LIFETIME:
            self._made = [(self._random(NONCE_BYTES), now), *self._made[:1]]
        return self._made[0][0]

    def is_good(self, nonce: bytes, now: float) -> bool:
        """Whether an offer may carry it."""
        return any(nonce == n and now - at < 2 * NONCE_LIFETIME for n, at in self._made)


class Sessions:
    """Sessions of offers that have come. When there are too many, new ones are refused."""

    def __init__(self, most: int = MAX_SESSIONS) -> None:
        self._most = most
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, session: bytes, now: float) -> None:
        """Raises RemoteProtocolError when a session was seen."""
        while self._seen and now - next(iter(self._seen.values())) >= SESSION_MEMORY:
            self._seen.popitem(last=False)
        if session in self._seen:
            raise RemoteProtocolError("an offer came twice")

    def take(self, session: bytes, now: float) -> None:
        """Remember a session. Raises RemoteProtocolError when it was seen, or there is no room."""
        self.check(session, now)
        if len(self._seen) >= self._most:
            raise RemoteProtocolError(f"more than {self._most} offers in {SESSION_MEMORY:g} s")
        self._seen[session] = now
