"""How long a peer has been silent, and when that is a loss. Pure."""

from __future__ import annotations


class Silence:
    """One link's watch: feared from the first missed pong on, a loss after `loss_timeout`."""

    __slots__ = ("_loss_timeout", "_watching", "feared", "heard_at", "lost", "own_fault")

    def __init__(self, now: float, loss_timeout: float) -> None:
        self.heard_at = now
        """The last authentic arrival over any path."""
        self.feared = False
        """The path in use misses a pong, or there is none any more."""
        self.lost = False
        self.own_fault: str | None = None
        """Why this node's own network is down; None when it is not, as far as is known."""
        self._loss_timeout = loss_timeout
        self._watching = False

    def begin(self) -> None:
        """There is a path: from now on silence counts."""
        self._watching = True

    def fear(self) -> bool:
        """A pong is missing; False when that is no news."""
        before, self.feared = self.feared, True
        return not before

    def heard(self, now: float, *, in_use: bool) -> float | None:
        """Something authentic came; if it ends a fear, for how long there was nothing."""
        silence, self.heard_at = now - self.heard_at, max(self.heard_at, now)
        if not (self.feared and in_use):
            return None
        self.feared = False
        return silence

    def next_deadline(self) -> float | None:
        """When `is_loss` may be true."""
        return self.heard_at + self._loss_timeout if self._watching and not self.lost else None

    def is_loss(self, now: float) -> bool:
        """Whether the peer is lost now; True only once."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return False
        self.lost = True
        return True

    def reason(self, now: float) -> str:
        """Whose fault a loss is, for people."""
        if self.own_fault is not None:
            return f"this node's own network is down: {self.own_fault}"
        return f"the peer has not been heard for {now - self.heard_at:.0f} s"
