"""When to let a thin stream of datagrams gather for a moment instead of waking for each. Pure."""

from __future__ import annotations


class ThinTraffic:
    """Decides after each wake-up whether the reader should pause.

    A wake-up costs the same for one datagram as for forty, so a steady but thin stream costs
    several times more processor time per byte than bulk. Pausing lets it gather. A pause is kept
    up only while the traffic does not slow down for it: a request that waits for its answer does,
    and is then left alone for a while. Small datagrams never cause a pause.
    """

    PAUSE = 0.001
    """Seconds."""
    SMALL = 1000
    """Datagrams below this many bytes are taken for interactive."""
    THIN = 8192
    """A wake-up that brings more bytes is no thin traffic."""
    FULL = 131072
    """A pause that gathers more bytes is no thin traffic either: the loop is busy enough."""
    GAP = 0.0005
    """Steady traffic wakes the loop again within this many seconds."""
    LEAST = 4000
    """A pause must promise to gather this many bytes."""
    RUN = 32
    """Thin wake-ups in a row before the first pause."""
    KEPT = 0.6
    """The share of the rate before that must still arrive while pausing."""
    JUDGED = 4
    """Pauses that are judged together: a single one says little on a busy machine."""
    RENEW = 64
    """Pauses before the rate is measured afresh."""
    FIRST_PATIENCE = 0.1
    LAST_PATIENCE = 2.0
    """Seconds without a pause after one that slowed the traffic; doubles each time."""

    def __init__(self) -> None:
        self._run = 0
        self._bytes = 0
        self._run_began_at = 0.0
        self._last_at = 0.0
        self._rate = 0.0
        self._pauses = 0
        self._retry_at = 0.0
        self._patience = self.FIRST_PATIENCE

    def after(self, now: float, size: int, stride: int) -> float:
        """How long to pause, in seconds (0.0: not at all), after a wake-up at `now`.

        `size` is what the wake-up brought in bytes, `stride` the size of its last datagrams.
        """
        if self._pauses:
            return self._after_pause(now, size, stride)
        steady = now - self._last_at <= self.GAP and stride >= self.SMALL and size <= self.THIN
        if not steady:
            self._begin(now)
            return 0.0
        self._last_at = now
        self._run += 1
        self._bytes += size
        if self._run < self.RUN or now < self._retry_at:
            return 0.0
        return self._first_pause(now)

    def _first_pause(self, now: float) -> float:
        self._rate = self._bytes / max(now - self._run_began_at, 1e-6)
        self._begin(now)
        if self._rate * self.PAUSE < self.LEAST:
            return 0.0
        self._pauses = 1
        return self.PAUSE

    def _after_pause(self, now: float, size: int, stride: int) -> float:
        self._bytes += size
        if stride < self.SMALL or size > self.FULL:
            self._pauses = 0
        elif self._pauses % self.JUDGED == 0:
            self._judge(now)
        if not self._pauses or self._pauses >= self.RENEW:
            self._pauses = 0
            self._begin(now)
            return 0.0
        self._pauses += 1
        return self.PAUSE

    def _judge(self, now: float) -> None:
        """Stop for a while when the traffic has slowed down since pausing began."""
        if self._bytes >= self._rate * (now - self._run_began_at) * self.KEPT:
            self._patience = self.FIRST_PATIENCE
            return
        self._retry_at = now + self._patience
        self._patience = min(2 * self._patience, self.LAST_PATIENCE)
        self._pauses = 0

    def _begin(self, now: float) -> None:
        """Count afresh from `now` on."""
        self._last_at = self._run_began_at = now
        self._run = self._bytes = 0


class UnmergedTraffic(ThinTraffic):
    """Where the kernel merges nothing, a wake-up brings what came since the last one, and bulk too
    is thin: gathering halves what both ends spend on wake-ups and acknowledgements.

    A sender at full speed fills a wake-up with about 75 kB, and is heard every millisecond or so.
    """

    THIN = 131072
    FULL = 524288
    GAP = 0.002
    RENEW = 256
