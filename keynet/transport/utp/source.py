"""Where the sending half finds its bytes."""

from __future__ import annotations

from typing import Protocol

from keynet.engine import Buffer


class Source(Protocol):
    """Bytes that wait to be sent, in order: the outgoing side of a secure channel."""

    @property
    def pending(self) -> int:
        """Bytes that `pull` would give."""

    def pull(self, max_bytes: int) -> Buffer:
        """Take up to `max_bytes`; less while more is pending where an inner boundary lies.

        What is returned may be overwritten by the next call.
        """
