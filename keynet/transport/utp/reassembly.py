"""The receiving half's order: what has arrived, what is missing, what to acknowledge.

Sequence numbers are unbounded integers. Bounded twice: by the reach of a selective ACK in
packets, and by the caller's limit in bytes.
"""

from __future__ import annotations

from keynet.transport.utp.packet import SACK_REACH


class Reassembly:
    """Packets in, ordered payloads out. Order costs nothing while packets come in order."""

    __slots__ = ("_early", "_mask", "early_bytes", "next_seq")

    def __init__(self, next_seq: int) -> None:
        self.next_seq = next_seq
        """The lowest sequence number that has not arrived."""
        self._early: dict[int, bytes] = {}
        self._mask = 0  # bit i: next_seq + i has arrived (bit 0 is always clear)
        self.early_bytes = 0
        """Bytes held because something before them is missing."""

    @property
    def sack(self) -> int:
        """Bit i says that `next_seq + 1 + i` has arrived (BEP 29: ack_nr + 2 + i)."""
        return self._mask >> 1

    @property
    def holds(self) -> bool:
        """Whether anything came early and is still here."""
        return self._mask != 0

    def cut(self, end: int) -> None:
        """Forget what is held at and beyond `end`: the peer says that there is nothing there."""
        for seq in [seq for seq in self._early if seq >= end]:
            self.early_bytes -= len(self._early.pop(seq))
        self._mask &= (1 << max(0, end - self.next_seq)) - 1

    def advance(self, count: int) -> None:
        """`count` packets from `next_seq` on arrived in order and were taken by the caller."""
        self.next_seq += count
        if self._mask:
            self._drop_overtaken(count)

    def _drop_overtaken(self, count: int) -> None:
        self._mask >>= count
        for seq in range(self.next_seq - count, self.next_seq):
            self.early_bytes -= len(self._early.pop(seq, b""))

    def keep(self, seq: int, payload: bytes, limit: int) -> bool:
        """Hold a packet that came early; False when it is a duplicate or out of bounds."""
        ahead = seq - self.next_seq
        if not 0 < ahead <= SACK_REACH or self._mask >> ahead & 1:
            return False
        if self.early_bytes + len(payload) > limit:
            return False
        self._early[seq] = payload
        self._mask |= 1 << ahead
        self.early_bytes += len(payload)
        return True

    def take_ready(self) -> list[bytes]:
        """The held payloads that are in order now."""
        ready: list[bytes] = []
        while (payload := self._early.pop(self.next_seq, None)) is not None:
            ready.append(payload)
            self.next_seq += 1
            self.early_bytes -= len(payload)
        self._mask >>= len(ready)
        return ready
