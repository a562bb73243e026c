"""The answers to one batch (JSON-RPC 2.0 section 6), given together when the last is made."""

from __future__ import annotations


class Batch:
    """Collects answers. Notifications have none; a batch of these alone gets no answer at all."""

    __slots__ = ("_answers", "_awaited", "_limit", "_read", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._answers: list[bytes] = []
        self._awaited = 0
        self._read = False

    def expect(self) -> None:
        """A call has begun that will be answered later."""
        self._awaited += 1

    def fits(self, text: bytes) -> bool:
        """Whether there is room for an answer: all of them are one line, and are held until the
        last is made. What says that there is none, which is short, is always taken."""
        return self._size + len(text) <= self._limit

    def answer(self, text: bytes, *, awaited: bool) -> bytes | None:
        """Add an answer; `awaited` when `expect` announced it. Gives the array once complete."""
        self._answers.append(text)
        self._size += len(text)
        self._awaited -= awaited
        return self._complete()

    def end(self) -> bytes | None:
        """Every request of the batch has been read. Gives the array, if it is complete."""
        self._read = True
        return self._complete()

    def _complete(self) -> bytes | None:
        if not self._read or self._awaited or not self._answers:
            return None
        return b"[" + b",".join(self._answers) + b"]"
