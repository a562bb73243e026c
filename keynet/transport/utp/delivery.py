"""What the scoreboard's memory of a flight says to congestion control, when its fate is known."""

from __future__ import annotations

from keynet.transport.utp.congestion import Acked, Lost
from keynet.transport.utp.scoreboard import Flight, Scoreboard

_MOST_OF_A_ROUND_TRIP = 0.999


def acked_sample(
    board: Scoreboard,
    flight: Flight,
    newly_acked: int,
    *,
    delay: float | None,
    least_rtt: float,
    window_limited: bool,
    now: float,
) -> Acked:
    """The delivery rate that one flight saw (draft-ietf-ccwg-bbr section 4.1.2.3).

    `flight` is the newest of those that the acknowledgement spoke of; `newly_acked` counts the
    bytes of all of them.
    """
    interval = max(flight.sent_at - flight.first_sent_at, now - flight.delivered_at)
    board.first_sent_at = flight.sent_at
    valid = interval > 0 and interval >= min(least_rtt, 1.0) * _MOST_OF_A_ROUND_TRIP
    delivered = board.delivered - flight.delivered
    return Acked(
        now=now,
        newly_acked=newly_acked,
        in_flight=board.in_flight,
        rtt=None if flight.resent else now - flight.sent_at,
        delay=delay,
        delivered=board.delivered,
        prior_delivered=flight.delivered,
        delivery_rate=delivered / interval if valid else 0.0,
        interval=interval,
        app_limited=flight.app_limited,
        tx_in_flight=flight.tx_in_flight,
        lost=board.lost_total - flight.lost_before,
        window_limited=window_limited,
        sent_at=flight.sent_at,
    )


def lost_report(board: Scoreboard, flight: Flight, mask: int, now: float) -> Lost:
    """The packets in `mask` of one flight were declared lost."""
    return Lost(
        now=now,
        bytes=flight.batch.bytes_of(mask),
        sent_at=flight.sent_at,
        in_flight=board.in_flight,
        tx_in_flight=flight.tx_in_flight,
        lost_since_sent=board.lost_total - flight.lost_before,
        delivered_at_send=flight.delivered,
        app_limited=flight.app_limited,
    )
