"""How much may be under way towards one socket. Pure."""

from __future__ import annotations


class ReceiveBudget:
    """The bytes that may be under way towards one endpoint's socket, shared by active streams.

    Windows of all active streams together stay within what the socket's receive buffer holds:
    beyond that the kernel drops, and drops cost far more than a smaller window.
    """

    __slots__ = ("_active", "total")

    MINIMUM = 65536
    """The smallest share, however many streams there are: less would stop a stream for good."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._active: set[object] = set()

    def join(self, stream: object) -> None:
        """Count `stream` among the active ones; idempotent."""
        self._active.add(stream)

    def leave(self, stream: object) -> None:
        """Stop counting `stream`; idempotent."""
        self._active.discard(stream)

    @property
    def share(self) -> int:
        """The window in bytes that one stream may advertise now."""
        return max(self.MINIMUM, self.total // max(1, len(self._active)))
