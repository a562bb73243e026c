"""After a retransmission time-out the lowest packet goes first, whatever waited before it."""

from __future__ import annotations

from keynet.transport.utp.scoreboard import Batch, Scoreboard

STRIDE = 100


def send(board: Scoreboard, packets: int, now: float) -> Batch:
    batch = Batch(board.next_seq, bytearray(STRIDE * packets), STRIDE)
    board.add(batch)
    board.sent(batch, batch.full, now)
    return batch


def test_a_batch_that_was_resent_in_part_does_not_stay_at_the_front() -> None:
    """libutp held the upper packets, out of its SACK's reach, and was sent nothing else."""
    board = Scoreboard(1)
    lower, upper = send(board, 2, 0.0), send(board, 5, 0.0)
    for _flight, _mask in board.lose_all():
        pass
    assert board.take_lost(2) == (lower, 0b11)
    assert board.take_lost(1) == (upper, 0b1)
    board.sent(lower, 0b11, 1.0, resent=True)
    board.sent(upper, 0b1, 1.0, resent=True)
    board.lose_all()
    assert board.take_lost(1) == (lower, 0b1)
