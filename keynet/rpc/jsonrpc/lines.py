"""Cutting a byte stream into lines, in time linear in its length. Pure; knows nothing of JSON."""

from __future__ import annotations

_NEWLINE = b"\n"


class LineSplitter:
    """Gives whole lines, without their `\\n`, as their bytes come in."""

    __slots__ = ("_pending", "_size", "limit", "overflowed")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The longest line in bytes, its newline not counted."""
        self.overflowed = False
        """A line was longer. Nothing can be cut after it: `feed` gives no more."""
        self._pending: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes kept of a line that is not whole yet; at most `limit`."""
        return self._size

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, up to the first that is too long."""
        if self.overflowed:
            return []
        lines = data.split(_NEWLINE)
        rest = lines.pop()
        if lines and self._pending:
            self._pending.append(lines[0])
            lines[0] = b"".join(self._pending)
            self._pending.clear()
            self._size = 0
        if rest:
            self._pending.append(rest)
            self._size += len(rest)
        return self._within_limit(lines)

    def _within_limit(self, lines: list[bytes]) -> list[bytes]:
        for index, line in enumerate(lines):
            if len(line) > self.limit:
                self._overflow()
                return lines[:index]
        if self._size > self.limit:
            self._overflow()
        return lines

    def _overflow(self) -> None:
        self.overflowed = True
        self._pending.clear()
        self._size = 0
