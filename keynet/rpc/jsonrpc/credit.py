"""Credit of one stream of items in one direction, and what a session may hold unread. Pure.

Credit is counted in bytes of whole lines. A sender may send while it has any left, so one item,
however large, always passes; the receiver grants more as its application takes items.
"""

from __future__ import annotations

from keynet.errors import RpcError
from keynet.rpc.status import Status, rpc_error

INITIAL_CREDIT = 65_536
"""What either sender begins with, when nothing else was said."""

MOST_CREDIT = 1 << 40
"""More is not counted: a peer may grant as often as it likes."""

MAX_GRANT = 1 << 31
"""The most that one grant may say."""


class SendCredit:
    """What this side may still send."""

    __slots__ = ("left",)

    def __init__(self, left: int = INITIAL_CREDIT) -> None:
        self.left = left
        """In bytes; below zero after an item larger than what was left."""

    @property
    def open(self) -> bool:
        return self.left > 0

    def spend(self, size: int) -> None:
        self.left -= size

    def grant(self, credit: int) -> None:
        self.left = min(self.left + credit, MOST_CREDIT)


class Unread:
    """Bytes of items that one session has received and its applications have not taken."""

    __slots__ = ("limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0


class ReceiveWindow:
    """What the peer may still send, and what of it waits here."""

    __slots__ = ("_unread", "left", "size", "waiting")

    def __init__(self, unread: Unread, size: int, left: int = INITIAL_CREDIT) -> None:
        self._unread = unread
        self.size = size
        """Bytes that may be under way or unread, when the reader keeps up."""
        self.left = left
        """Granted and not used yet."""
        self.waiting = 0
        """Bytes received and not taken."""

    def arrive(self, size: int) -> RpcError | None:
        """Count an item of `size` bytes, or say why it ends its call."""
        if self.left <= 0:
            return rpc_error(Status.RESOURCE_EXHAUSTED, "an item was sent without credit")
        if self._unread.size + size > self._unread.limit:
            return rpc_error(Status.RESOURCE_EXHAUSTED, "too much waits unread on this stream")
        self.left -= size
        self.waiting += size
        self._unread.size += size
        return None

    def take(self, size: int) -> int:
        """The application has taken that much: the credit to grant now, 0 for none yet."""
        size = min(size, self.waiting)
        self.waiting -= size
        self._unread.size -= size
        used = self.size - self.waiting - self.left
        if used * 2 < self.size:
            return 0
        self.left += used
        return used

    def release(self) -> None:
        """Nobody will take what waits. Idempotent."""
        self._unread.size -= self.waiting
        self.waiting = 0
