"""The sending half of one uTP connection: what goes out when, and what is sent again.

It decides with the congestion window, the pacer, the peer's window and the reach of selective
ACKs. It writes headers through the `stamp` that the connection passes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from keynet.engine import Buffer, Datagrams
from keynet.transport.utp.congestion import CongestionControl
from keynet.transport.utp.delivery import acked_sample, lost_report
from keynet.transport.utp.mtu import BASE_SIZE, PathMtu
from keynet.transport.utp.pacing import Pacer
from keynet.transport.utp.packet import (
    HEADER_SIZE,
    SACK_REACH,
    PacketType,
    encode_batch,
)
from keynet.transport.utp.rtt import REORDERING_FLOOR, RttEstimator
from keynet.transport.utp.scoreboard import Batch, Flight, Scoreboard
from keynet.transport.utp.silence import Silence
from keynet.transport.utp.source import Source

MAX_BATCH_BYTES = 260000
MAX_BATCH_PACKETS = 176
"""Four UDP_SEGMENT sends at MTU 1500: what is done once a batch costs a quarter then."""
MAX_BYTES_PER_CALL = 1 << 19
MAX_REORDERING_STEPS = 16
DUPLICATES = 3
"""Later packets whose arrival tells that one is lost, as long as nothing came out of order yet
(RFC 8985 section 6.2 step 4). Waiting longer holds up what a selective ACK reaches."""

Stamp = Callable[[PacketType, int], bytes]
"""Encodes a header with the given type and seq_nr and everything else current."""


class Sender:
    """Batches out, acknowledgements in. All sizes are UDP payload bytes."""

    def __init__(
        self,
        first_seq: int,
        source: Source,
        mtu: PathMtu,
        congestion: CongestionControl,
        now: float,
    ) -> None:
        self.board = Scoreboard(first_seq)
        self.congestion = congestion
        self.peer_window = 0
        self.probing_allowed = False
        """Packet size probes may be sent: the peer is known to take what arrives."""
        self.hold_tail = False
        """The writer is about to write more: a short packet now would only be in the way."""
        self.fin_seq: int | None = None
        self.cut_short = False
        """The last `send` stopped at its bound: there may be more to send at once."""
        self.retransmitted = 0
        self.spurious = 0
        self.source = source
        self._mtu = mtu
        self._pacer = Pacer(congestion.mss, now, congestion.pacing_rate)
        self._fin_wanted = False
        self._silence = Silence(now)
        self._window_limited = False
        self._paced = False
        self._reordering_steps = 1

    # State

    @property
    def rtt(self) -> RttEstimator:
        """The path's round trip, as measured."""
        return self._silence.rtt

    @property
    def outstanding(self) -> int:
        """Bytes that the peer has not acknowledged."""
        return self.board.in_flight + self.board.waiting

    @property
    def fin_acked(self) -> bool:
        return self.fin_seq is not None and self.board.una > self.fin_seq

    def finish(self) -> None:
        """Send a FIN after all that the source holds; idempotent."""
        self._fin_wanted = True

    # Acknowledgements

    def acknowledge(self, ack: int, sack: int, delay: float | None, now: float) -> None:
        """Take an acknowledgement that the connection found plausible."""
        board, silence = self.board, self._silence
        silence.heard(now)
        if not sack and not board.in_flight and ack == board.una - 1:
            return  # nothing new: the receiver of a one-way stream hears this with each batch
        rtt = silence.rtt
        news = board.acknowledge(ack, sack, now, rtt.minimum if rtt.smoothed else 0.0)
        if news.spurious:
            self.spurious += 1
            self._reordering_steps = min(MAX_REORDERING_STEPS, self._reordering_steps * 2)
            self.congestion.on_spurious_loss(now)
        flight = news.newest
        if flight is not None and not flight.resent:
            rtt.update(now - flight.sent_at)
        if news.acked:
            silence.progressed(now)
            if flight is not None and flight.batch.stride > BASE_SIZE:
                self._mtu.large_acked()
        self._find_losses(now)
        if flight is not None:
            sample = acked_sample(
                board,
                flight,
                news.acked,
                delay=delay,
                least_rtt=rtt.minimum,
                window_limited=self._window_limited,
                now=now,
            )
            self.congestion.on_ack(sample)
            self._pacer.set_rate(self.congestion.pacing_rate)
            self._window_limited = False

    # Loss

    def _find_losses(self, now: float) -> None:
        reordering = REORDERING_FLOOR
        if self._reordering_steps > 1 or self.board.sacked_count < DUPLICATES:
            reordering = self.rtt.reordering_window(self._reordering_steps)
        for flight, mask in self.board.detect_losses(now, reordering):
            self._report_loss(flight, mask, now)

    def _report_loss(self, flight: Flight, mask: int, now: float) -> None:
        if flight.resent and flight.batch.stride > BASE_SIZE:
            self._mtu.large_lost_again(now)
        self.congestion.on_loss(lost_report(self.board, flight, mask, now))
        self._pacer.set_rate(self.congestion.pacing_rate)

    # Sending

    def send(self, stamp: Stamp, now: float, out: list[Datagrams]) -> bool:
        """Append what may go out now to `out`; True when a packet with an ack_nr is among it."""
        before = len(out)
        budget = MAX_BYTES_PER_CALL
        self.cut_short = False
        if self.congestion.mss != self._mtu.size:
            self.congestion.mss = self._pacer.mss = self._mtu.size
        self._paced = False
        if self.board.waiting:
            budget = self._send_lost(stamp, now, out, budget)
        if not self.board.waiting:
            budget = self._send_new(stamp, now, out, budget)
        self.cut_short = budget <= 0
        return len(out) > before

    def _allowance(self, now: float) -> int:
        """Bytes that congestion control and pacing let out now; at least one packet when idle."""
        room = self.congestion.window - self.board.in_flight
        if room < self._mtu.size:
            self._window_limited = True
            if room <= 0:
                return 0
        paced = self._pacer.budget(now)
        if paced <= 0:
            self._paced = True
        return min(room, paced)

    def _send_lost(self, stamp: Stamp, now: float, out: list[Datagrams], budget: int) -> int:
        while budget > 0:
            room = min(budget, self._allowance(now))
            stride = self.board.oldest_stride
            if room <= 0 or (room < stride and self.board.in_flight):
                break
            lost = self.board.take_lost(max(1, min(room // stride, MAX_BATCH_PACKETS)))
            if lost is None:
                break
            budget -= self._resend(*lost, stamp, now, out)
        return budget

    def _resend(
        self, batch: Batch, mask: int, stamp: Stamp, now: float, out: list[Datagrams]
    ) -> int:
        """Send packets of a batch again with fresh headers, which tell the newest ack_nr."""
        kind = PacketType(batch.image[0] >> 4)
        parts: list[bytes] = []
        for seq, payload in batch.payloads(mask):
            parts += (stamp(kind, seq), payload)
        data = b"".join(parts)
        per_send = max(1, MAX_BATCH_BYTES // batch.stride) * batch.stride
        fragment = batch.stride > self._mtu.size
        for start in range(0, len(data), per_send):
            piece = data[start : start + per_send]
            stride = min(batch.stride, len(piece))
            out.append(Datagrams(piece, stride, may_fragment=fragment))
        self._record(batch, mask, now, resent=True)
        self.retransmitted += mask.bit_count()
        return len(data)

    def _send_new(self, stamp: Stamp, now: float, out: list[Datagrams], budget: int) -> int:
        while budget > 0:
            pending = self.source.pending
            if not pending:
                self._end_of_source(stamp, now, out)
                break
            count, size = self._next_batch(pending, now)
            if not count:
                break
            self._silence.window_opened()
            budget -= self._send_data(count, size, stamp, now, out)
        return budget

    def _next_batch(self, pending: int, now: float) -> tuple[int, int]:
        """How many packets of which payload size may go out now; (0, 0) for none."""
        board = self.board
        size = self._mtu.size - HEADER_SIZE
        room = min(self._allowance(now), self.peer_window - self.outstanding)
        reach = SACK_REACH - (board.next_seq - board.una)
        if reach <= 0:
            return 0, 0
        wanted = min(pending + HEADER_SIZE, size + HEADER_SIZE)
        if room < wanted:
            return self._squeezed(room, wanted, size)
        if pending < size:
            return (0, 0) if self.hold_tail and board.in_flight else (1, size)
        most = min(MAX_BATCH_PACKETS, max(1, MAX_BATCH_BYTES // (size + HEADER_SIZE)))
        count = min(max(1, room // (size + HEADER_SIZE)), reach, most)
        if not self.hold_tail:
            return min(count, -(-pending // size)), size
        waiting = pending // size
        if waiting < count and board.in_flight:
            return 0, 0  # more comes at once: a whole batch costs no more than a part of one
        return min(count, waiting), size

    def _squeezed(self, room: int, wanted: int, size: int) -> tuple[int, int]:
        """Less than a packet fits: wait for acknowledgements, unless none can come."""
        if self.outstanding or self._paced:
            return 0, 0
        usable = min(wanted, self.peer_window + HEADER_SIZE)
        return (1, min(size, usable - HEADER_SIZE)) if usable > HEADER_SIZE + 1 else (0, 0)

    def _pull(self, size: int) -> Buffer:
        """`size` bytes of the source, or all it has; one pull may stop at an inner boundary."""
        payload = self.source.pull(size)
        if len(payload) == size or not self.source.pending:
            return payload
        whole = bytearray(payload)  # the next pull may overwrite what this one gave
        while len(whole) < size and (more := self.source.pull(size - len(whole))):
            whole += more
        return whole

    def _send_data(
        self, count: int, size: int, stamp: Stamp, now: float, out: list[Datagrams]
    ) -> int:
        """Make one batch, record it, append it; returns its size on the wire."""
        payload = self._pull(count * size)
        if not payload:
            return 0
        board = self.board
        image = encode_batch(stamp(PacketType.DATA, board.next_seq), payload, size)
        stride = min(size + HEADER_SIZE, len(image))
        batch = Batch(board.next_seq, image, stride)
        board.add(batch)
        self._record(batch, batch.full, now)
        out.append(Datagrams(image, stride))
        return len(image)

    def _record(self, batch: Batch, mask: int, now: float, *, resent: bool = False) -> None:
        size = batch.bytes_of(mask)
        board = self.board
        limited = board.app_limited_until > 0
        self.congestion.on_send(now, size, board.in_flight, limited)
        board.sent(batch, mask, now, resent=resent)
        self._pacer.sent(size, now)
        self._silence.sent(now, first=board.in_flight == size)

    def _end_of_source(self, stamp: Stamp, now: float, out: list[Datagrams]) -> None:
        """Nothing waits: rate samples now understate the path, and a FIN may follow."""
        board = self.board
        if board.in_flight < self.congestion.window:
            board.app_limited_until = board.delivered + board.in_flight or 1
        if self._fin_wanted and self.fin_seq is None:
            self.fin_seq = board.next_seq
            image = bytearray(stamp(PacketType.FIN, self.fin_seq))
            batch = Batch(self.fin_seq, image, len(image))
            board.add(batch)
            self._record(batch, 1, now)
            out.append(Datagrams(image))

    # Time

    def next_deadline(self) -> float:
        """The earliest of loss detection, probes, time-outs and pacing; inf for none."""
        at, board = math.inf, self.board
        if board.in_flight or board.waiting:
            at = self._silence.timeout_at(board.in_flight)
            if board.loss_at is not None and board.loss_at < at:
                at = board.loss_at
        elif not self._paced and self.peer_window < self._mtu.size and self.source.pending:
            at = self._silence.persist_at()
        if self._paced and (send_at := self._pacer.next_send_at()) is not None and send_at < at:
            at = send_at
        return at

    def handle_deadline(self, stamp: Stamp, now: float, out: list[Datagrams]) -> bool:
        """Do what is due; False when the peer must be taken for gone."""
        board, silence = self.board, self._silence
        if board.loss_at is not None and board.loss_at <= now:
            self._find_losses(now)
        if self.outstanding:
            if silence.timeout_at(board.in_flight) > now:
                return True
            if not silence.probes_tail(board.in_flight, now):
                return self._time_out(now)
            self._probe_tail(stamp, now, out)
        elif silence.probes_window(now):
            self._send_data(1, 1, stamp, now, out)
        return True

    def _time_out(self, now: float) -> bool:
        """The retransmission timer expired (RFC 6298 section 5.4, RFC 8985 section 6.3)."""
        if not self._silence.timed_out(now):
            return False
        self.board.lose_all()
        self.congestion.on_timeout(now)
        self._pacer.set_rate(self.congestion.pacing_rate)
        if self.rtt.backoff >= 2 and self.board.oldest_stride > BASE_SIZE:
            self._mtu.black_hole(now)
        return True

    def _probe_tail(self, stamp: Stamp, now: float, out: list[Datagrams]) -> None:
        """Provoke an acknowledgement: new data when there is some, else the last packet again."""
        size = self._mtu.size - HEADER_SIZE
        reach = SACK_REACH - (self.board.next_seq - self.board.una)
        if self.source.pending and reach > 0 and self.peer_window - self.outstanding > size:
            self._send_data(1, size, stamp, now, out)
            return
        last = self.board.take_last()
        if last is not None:
            self._resend(*last, stamp, now, out)

    # The path

    def due_probe(self, now: float) -> int:
        """The size of a packet that should now try the path; 0 for none.

        Only a stream that is sending much probes, and only what its window could hold.
        """
        if not self.probing_allowed:
            return 0
        size = self._mtu.probe_size(now, min(self.congestion.window, self.board.in_flight))
        if size:
            self._mtu.probe_sent(size, now)
        return size

    def probe_arrived(self, size: int, now: float) -> None:
        """The peer has received a probe of that size."""
        self._mtu.probe_acked(size, now)

    def path_changed(self, rtt: float | None, now: float) -> None:
        """Another path: round trips, back-off and congestion state start anew."""
        self._silence.path_changed(rtt, now)
        self.congestion.mss = self._pacer.mss = self._mtu.size
        self.congestion.on_path_changed(now, self._mtu.size)
        self._pacer.set_rate(self.congestion.pacing_rate)
