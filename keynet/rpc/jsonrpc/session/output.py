"""The lines that wait to be written, given out in one piece for one write. Pure."""

from __future__ import annotations


class Output:
    """Lines in the order in which they were said. Bounded by its owner, who looks at `size`."""

    __slots__ = ("_closed", "_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._closed = False
        self.size = 0
        """Bytes that wait."""

    def add(self, line: bytes) -> int:
        """Say `line`, which has no newline yet; gives what that takes in bytes."""
        size = len(line) + 1
        if not self._closed:
            self._parts += (line, b"\n")
            self.size += size
        return size

    def take(self) -> bytes:
        """Everything that waits."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return data

    def close(self) -> None:
        """Drop what waits, and all that comes later."""
        self._closed = True
        self.take()
