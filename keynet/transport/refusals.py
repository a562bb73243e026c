"""Telling strangers that nothing is known of their connection, only so often."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keynet.engine import Buffer
from keynet.transport.api import Transport

MAX_REFUSALS = 100
"""Datagrams of unknown connections that are answered in a second."""


class Refusals:
    """Makes the answers of those transports that have any."""

    def __init__(self, transports: Iterable[Transport]) -> None:
        refusing = (getattr(transport, "refuse", None) for transport in transports)
        self._refusing: list[Callable[[Buffer], bytes | None]] = [one for one in refusing if one]
        self._second = 0.0
        self._count = 0

    def answer(self, datagram: Buffer, now: float) -> bytes | None:
        """What to tell the sender of `datagram`; None for nothing."""
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        if self._count >= MAX_REFUSALS:
            return None
        for refuse in self._refusing:
            answer = refuse(datagram)
            if answer:
                self._count += 1
                return answer
        return None
