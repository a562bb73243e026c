"""What a congestion controller is told, and the two numbers that it answers with.

Bytes are UDP payload bytes; times are seconds. The sender calls once per acknowledgement that
arrives, not once per packet: samples cover everything that acknowledgement said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Acked:
    """One acknowledgement's news, with a delivery-rate sample (draft-ietf-ccwg-bbr section 4.1)."""

    now: float
    newly_acked: int
    """Bytes acknowledged for the first time by this acknowledgement."""
    in_flight: int
    """Bytes in flight after it."""
    rtt: float | None
    """A round-trip sample, never from a retransmitted packet; None when there is none."""
    delay: float | None
    """The peer's one-way delay sample (arrival minus send stamp, clocks not in step), or None."""
    delivered: int
    """Bytes delivered since the connection began, this acknowledgement included."""
    prior_delivered: int
    """`delivered` when the newest acknowledged batch was sent."""
    delivery_rate: float
    """Bytes per second of the sample; 0.0 when it is not valid."""
    interval: float
    """Seconds that the rate was measured over."""
    app_limited: bool
    """The sample was taken while there was nothing to send: it may understate the path."""
    tx_in_flight: int
    """Bytes in flight just after the newest acknowledged batch was sent."""
    lost: int
    """Bytes marked lost between the sending of that batch and now."""
    window_limited: bool
    """The sender was held back by the congestion window since the last acknowledgement."""
    sent_at: float
    """When the newest acknowledged batch was sent."""


@dataclass(slots=True)
class Lost:
    """Packets of one batch were declared lost (RFC 8985: by time, not by count)."""

    now: float
    bytes: int
    sent_at: float
    """When the lost packets were last sent: an episode is new when this is after its start."""
    in_flight: int
    """Bytes in flight after taking the lost ones off."""
    tx_in_flight: int
    """Bytes in flight just after the lost batch was sent."""
    lost_since_sent: int
    """Bytes marked lost since that batch was sent, these included."""
    delivered_at_send: int
    """`delivered` when that batch was sent."""
    app_limited: bool


class CongestionControl(Protocol):
    """Made by `create(name, mss, now, random)`; deterministic, but for that random source.

    For one acknowledgement the sender reports losses first, then calls `on_ack`.
    """

    name: str
    mss: int
    """Bytes of a full packet; the sender raises it when packet size discovery succeeds."""

    @property
    def window(self) -> int:
        """Bytes that may be in flight; at least 2 * mss."""

    @property
    def pacing_rate(self) -> float:
        """Bytes per second; math.inf when the window alone decides."""

    def on_send(self, now: float, size: int, in_flight: int, app_limited: bool) -> None:
        """`size` bytes are about to be sent; `in_flight` does not count them yet."""

    def on_ack(self, acked: Acked) -> None: ...

    def on_loss(self, lost: Lost) -> None: ...

    def on_timeout(self, now: float) -> None:
        """The retransmission timer expired: nothing was heard for a whole RTO."""

    def on_spurious_loss(self, now: float) -> None:
        """What was taken for lost had arrived after all."""

    def on_path_changed(self, now: float, mss: int) -> None:
        """Another path: forget everything that was measured."""
