"""Credit of one stream of items in one direction, and what a session may give out of it. Pure.

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


class Budget:
    """The credit that one session gives out beyond INITIAL_CREDIT, which every stream has.

    What was promised can always be kept: so slow readers, however many, never cost another stream
    its call, and they hold a bounded amount.
    """

    __slots__ = ("lent", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """In bytes."""
        self.lent = 0

    def lend(self, wanted: int) -> int:
        """As much of `wanted` as is left."""
        given = min(wanted, self.limit - self.lent)
        self.lent += given
        return given

    def give_back(self, lent: int) -> None:
        self.lent -= lent


class ReceiveWindow:
    """What the peer may still send, and what of it waits here.

    It begins with INITIAL_CREDIT, and is widened to `size` as far as the budget allows.
    """

    __slots__ = ("_budget", "_closed", "_lent", "_size", "left", "waiting")

    def __init__(self, budget: Budget, size: int) -> None:
        """`size` is the bytes that may be under way or unread, when the reader keeps up."""
        self._budget = budget
        self._size = size
        self._lent = 0
        self._closed = False
        self.left = INITIAL_CREDIT
        """Granted and not used yet; below zero after an item larger than what was left."""
        self.waiting = 0
        """Bytes received and not taken."""

    def open_wide(self) -> int:
        """Widen it before anything was sent. Gives the credit to begin with."""
        self._widen()
        self.left = INITIAL_CREDIT + self._lent
        return self.left

    def arrive(self, size: int) -> RpcError | None:
        """Count an item of `size` bytes, or say why it ends its call."""
        if self.left <= 0:
            return rpc_error(Status.RESOURCE_EXHAUSTED, "an item was sent without credit")
        self.left -= size
        self.waiting += size
        return None

    def take(self, size: int) -> int:
        """The application has taken that much: the credit to grant now, 0 for none yet."""
        self.waiting = max(0, self.waiting - size)
        if self._closed:
            self._release_if_empty()
            return 0
        self._widen()
        whole = INITIAL_CREDIT + self._lent
        used = whole - self.waiting - self.left
        if used * 2 < whole:
            return 0
        self.left += used
        return used

    def close(self) -> None:
        """Nothing more arrives; what waits may still be taken. Idempotent."""
        self._closed = True
        self._release_if_empty()

    def release(self) -> None:
        """Nobody will take what waits. Idempotent."""
        self.waiting = 0
        self.close()

    def _widen(self) -> None:
        self._lent += self._budget.lend(self._size - INITIAL_CREDIT - self._lent)

    def _release_if_empty(self) -> None:
        if not self.waiting:
            self._budget.give_back(self._lent)
            self._lent = 0
