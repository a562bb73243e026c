"""What a sender's silence means and when: the tail's probe, the retransmission time-out, the end.

Times only, no packets: `Sender` asks when to act, does it, and tells what it sent and heard.
"""

from __future__ import annotations

from keynet.transport.utp.rtt import RttEstimator

LOST_AFTER = 15.0
"""Seconds without any acknowledgement, while some is due, that end a connection."""
MIN_TIMEOUTS = 4
MAX_PERSIST = 2.0
"""Seconds between probes of a window that stays closed (RFC 9293 section 3.8.6.1)."""


class Silence:
    """The clocks of one sender, all of which an acknowledgement sets back."""

    __slots__ = (
        "_active_at",
        "_heard_at",
        "_persist_at",
        "_persists",
        "_restart_at",
        "_tail_probed",
        "rtt",
    )

    def __init__(self, now: float) -> None:
        self.rtt = RttEstimator()
        self._tail_probed = False
        self._restart_at = now
        """What the retransmission time-out counts from (RFC 6298 section 5), and"""
        self._active_at = now
        """what the tail's probe does: it waits for the last sending too (RFC 8985 7.2)."""
        self._heard_at = now
        self._persist_at: float | None = None
        self._persists = 0

    def heard(self, now: float) -> None:
        """Any acknowledgement came, perhaps one with nothing new."""
        self._heard_at = now

    def progressed(self, now: float) -> None:
        """Something was acknowledged for the first time."""
        self.rtt.backoff = 0
        self._restart_at = self._active_at = now
        self._tail_probed = False

    def sent(self, now: float, *, first: bool) -> None:
        """Something went out; `first`: nothing else is in flight."""
        self._active_at = now
        self._persist_at = None
        if first:
            self._restart_at = now
            if not self.rtt.backoff:
                self._heard_at = now  # silence counts from the first byte that wants an answer

    def path_changed(self, rtt: float | None, now: float) -> None:
        """Another path: what was measured and waited for says nothing of it."""
        self.rtt = RttEstimator()
        if rtt is not None:
            self.rtt.update(rtt)
        self._restart_at = self._active_at = self._heard_at = now
        self._tail_probed = False

    # The tail's probe and the time-out.

    def timeout_at(self, in_flight: int) -> float:
        """When the next probe, time-out or end is due, with something unacknowledged."""
        rtt = self.rtt
        at = self._restart_at + rtt.retransmission_timeout
        if rtt.backoff >= MIN_TIMEOUTS - 1:
            return min(at, max(self._restart_at, self._heard_at + LOST_AFTER))
        if self._may_probe(in_flight):
            probe_at = self._active_at + rtt.probe_timeout
            return probe_at if probe_at < at else at
        return at

    def _may_probe(self, in_flight: int) -> bool:
        return in_flight > 0 and not (self._tail_probed or self.rtt.backoff)

    def probes_tail(self, in_flight: int, now: float) -> bool:
        """Whether what is due is a probe of the tail, which is noted; else it is a time-out."""
        if not self._may_probe(in_flight):
            return False
        self._tail_probed = True
        self._restart_at = now
        return True

    def timed_out(self, now: float) -> bool:
        """The retransmission timer expired; False when the peer must be taken for gone."""
        self.rtt.backoff += 1
        self._restart_at = now
        return self.rtt.backoff < MIN_TIMEOUTS or now < self._heard_at + LOST_AFTER

    # The closed window.

    def persist_at(self) -> float:
        """When a closed window is probed."""
        if self._persist_at is None:
            pause = self.rtt.retransmission_timeout * (1 << min(self._persists, 10))
            self._persist_at = self._restart_at + min(pause, MAX_PERSIST)
        return self._persist_at

    def probes_window(self, now: float) -> bool:
        """Whether a probe of the closed window is due, which is noted."""
        if self._persist_at is None or self._persist_at > now:
            return False
        self.rtt.backoff += 1
        self._persists += 1
        self._persist_at, self._restart_at = None, now
        return True

    def window_opened(self) -> None:
        """Data goes out: the next closed window is probed as soon as the first was."""
        self._persists = 0
