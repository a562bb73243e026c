"""One uTP connection (BEP 29), sans-IO: handshake, half-close, reset, keepalive, timers.

It carries opaque bytes; who the peer is, is TLS's business above. `Sender` and `Receiver` do the
two directions. Nothing here knows an address, a socket or a clock.
"""

from __future__ import annotations

import enum
import math

from keynet.engine import Datagrams
from keynet.errors import ClosedByPeer, ConnectionLost, DeadlineExceeded, KeynetError
from keynet.transport.utp.congestion import CongestionControl
from keynet.transport.utp.mtu import PathMtu
from keynet.transport.utp.packet import (
    Packet,
    PacketType,
    decode,
    encode,
    encode_probe,
    encode_probe_reply,
    unwrap,
)
from keynet.transport.utp.receiver import Receiver
from keynet.transport.utp.rtt import INITIAL_RTO
from keynet.transport.utp.sender import Sender
from keynet.transport.utp.source import Source
from keynet.udp.budget import ReceiveBudget

SYN_TIMEOUT = INITIAL_RTO
HANDSHAKE_TIMEOUT = 15.0
"""Seconds after which an unanswered SYN, or a SYN whose sender fell silent, is given up."""
KEEPALIVE_INTERVAL = 25.0
"""Below the 30 s after which a NAT may forget a mapping (RFC 4787 asks for at least 120)."""
IDLE_TIMEOUT = 100.0
"""libutp sends a keepalive every 29 s: three of them missed."""
SMALL = 512
"""Bytes of a message that a request or its answer may be: two of them are acknowledged at once."""
DELAYED_ACK = 0.002
"""Seconds that an answer to a small message is waited for, to carry its acknowledgement. An ACK of
its own costs a wake-up at both ends, in the middle of the answer's way."""
LINGER = 2.0
"""How long a finished connection answers a repeated FIN, in case its last ACK was lost."""


class State(enum.Enum):
    SYN_SENT = "syn sent"
    SYN_RECEIVED = "syn received"
    CONNECTED = "connected"
    FINISHED = "finished"
    """Both FINs are acknowledged; only stragglers are answered."""
    CLOSED = "closed"


class UtpConnection:
    """Feed it packets of its own id, ask it for datagrams, look at `state` and `inbound`."""

    def __init__(
        self,
        receive_id: int,
        *,
        syn: Packet | None,
        seq_nr: int,
        source: Source,
        mtu: PathMtu,
        congestion: CongestionControl,
        budget: ReceiveBudget,
        now: float,
    ) -> None:
        """`syn` is the packet to answer, or None to dial. `seq_nr` is random, 16 bits."""
        initiator = syn is None
        self.receive_id = receive_id
        self.send_id = receive_id + 1 if initiator else receive_id - 1
        self.state = State.SYN_SENT if initiator else State.SYN_RECEIVED
        self.error: KeynetError | None = None
        self.outbound = Sender(seq_nr + initiator, source, mtu, congestion, now)
        self.inbound = Receiver(0 if syn is None else syn.seq_nr + 1, budget)
        self.proved = False
        """What is inside has shaken hands; until then there is a time limit."""
        self.ack_due = False
        """An acknowledgement is to be sent with the next datagrams."""
        self._ack_at = math.inf
        """When one that waits for an answer to ride on goes out alone."""
        self._probe_reply = 0
        self._syn_seq = seq_nr if syn is None else syn.seq_nr
        self._syn_ack: bytes | None = None
        self._timestamp_diff = 0
        self._now_us = 0
        self._outbox: list[Datagrams] = []
        self._opened_at = now
        self._heard_at = now
        self._said_at = now
        self._syn_at = now
        self._syn_count = 0
        self._linger_at = 0.0
        self.forgotten = False
        """The linger is over: packets for this id are strangers now."""
        if syn is not None:
            self.outbound.peer_window = syn.window
            self._note_time(syn.timestamp, now)
            self._answer_syn(now)

    # Input

    def receive_batch(self, view: memoryview, stride: int, now: float) -> None:
        """Take DATA packets of this connection, back to back (packet.is_data_batch)."""
        last = decode(view[(len(view) - 1) // stride * stride :])
        if last is not None and self._accept_header(last, now):
            self.inbound.receive_batch(view, stride, now)
            self.ack_due = True
            if self.inbound.eof:
                self.check_finished(now)  # the FIN had come before these

    def receive(self, packet: Packet, now: float) -> None:
        """Take one packet of any type but SYN."""
        if packet.type == PacketType.RESET:
            self._receive_reset(packet)
        elif self._accept_header(packet, now):
            if packet.type != PacketType.STATE:
                self._receive_data(packet, now)
            elif packet.probe:
                self._probe_reply = packet.probe
            elif packet.probe_reply:
                self.outbound.probe_arrived(packet.probe_reply, now)
        self.check_finished(now)

    def _receive_data(self, packet: Packet, now: float) -> None:
        """A small message in order is acknowledged by the answer to it, if that comes at once."""
        fin = packet.type == PacketType.FIN
        awaited = self.inbound.next_seq
        self.inbound.receive(packet, fin=fin, now=now)
        may_wait = (
            len(packet.payload) <= SMALL
            and not fin
            and self.inbound.next_seq == awaited + 1
            and not self.inbound.sack
            and self._ack_at == math.inf
        )
        if may_wait:
            self._ack_at = now + DELAYED_ACK
        else:
            self.ack_due = True

    def receive_syn(self, packet: Packet) -> bool:
        """A SYN for this id: answered identically when it is the same one again; else False.

        Once connected it is nobody's: a late copy, a forgery, or a libutp that was started anew,
        which begins with the same id and seq_nr each time.
        """
        if self.state is not State.SYN_RECEIVED or packet.seq_nr != self._syn_seq:
            return False
        assert self._syn_ack is not None, "it was made with the answer"
        self._outbox[:] = [Datagrams(self._syn_ack)]
        return True

    def is_answered_by(self, packet: Packet) -> bool:
        """Whether a packet acknowledges exactly our SYN-ACK, which only its receiver has seen."""
        if self.state is not State.SYN_RECEIVED or packet.type == PacketType.RESET:
            return False
        return packet.ack_nr == (self.outbound.board.una - 1) & 0xFFFF

    def is_stale(self, now: float, after: float) -> bool:
        """Nothing was heard for `after` seconds: a SYN that reuses the id may challenge it."""
        return now - self._heard_at >= after

    def _accept_header(self, packet: Packet, now: float) -> bool:
        """Take the acknowledgement, the window and the clock; False drops the whole packet."""
        if self.state is State.CLOSED:
            return False
        board = self.outbound.board
        ack = unwrap(packet.ack_nr, board.una - 1)
        if ack >= board.next_seq:
            return False  # it acknowledges what was never sent
        if self.state is State.SYN_SENT:
            if packet.type != PacketType.STATE or ack != board.una - 1:
                return False
            self._establish(packet.seq_nr, now)
        elif self.state is State.SYN_RECEIVED:
            if ack != board.una - 1:
                return False  # whoever sent it has not seen our SYN-ACK: the address may be forged
            self.state = State.CONNECTED
        self._heard_at = now
        self._note_time(packet.timestamp, now)
        if ack >= board.una - 1:
            self.outbound.peer_window = packet.window
            delay = packet.timestamp_diff / 1e6 if packet.timestamp_diff else None
            self.outbound.acknowledge(ack, packet.sack, delay, now)
        return True

    def _establish(self, seq_nr: int, now: float) -> None:
        """The SYN-ACK came. Its seq_nr is not consumed: the first DATA carries it again."""
        self.state = State.CONNECTED
        self.inbound = Receiver(seq_nr, self.inbound.budget)
        if self._syn_count == 1:
            self.outbound.rtt.update(max(1e-6, now - self._syn_at))

    def _note_time(self, timestamp: int, now: float) -> None:
        self._timestamp_diff = (int(now * 1e6) - timestamp) & 0xFFFFFFFF

    def _receive_reset(self, packet: Packet) -> None:
        """Believe a RESET only when it acknowledges something plausible: headers can be forged."""
        board = self.outbound.board
        ack = unwrap(packet.ack_nr, board.una)
        over = self.state in (State.CLOSED, State.FINISHED)
        if board.una - 1 <= ack <= board.next_seq and not over:
            self._close(ClosedByPeer("the peer reset the stream"))

    # Output

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """What may go out now; call again until it is empty."""
        out, self._outbox = self._outbox, []
        if self.state is State.SYN_SENT and now >= self._syn_at and not self._syn_count:
            self._send_syn(now, out)
        self._now_us = int(now * 1e6) & 0xFFFFFFFF
        if self.state is State.CONNECTED:
            if self.outbound.send(self._stamp, now, out):
                self.ack_due = self.ack_due and self.inbound.sack != 0
                self._ack_at = math.inf
            self._probe_path(now, out)
        if self.ack_due:
            self.ack_due = False
            self._ack_at = math.inf
            if self.state is not State.CLOSED:
                out.append(Datagrams(self._state_packet(self.inbound.sack)))
        if out:
            self._said_at = now
        return out

    def _stamp(self, kind: PacketType, seq: int) -> bytes:
        return encode(
            kind,
            self.send_id,
            self._now_us,
            self._timestamp_diff,
            self.inbound.advertise(),
            seq,
            self.inbound.ack_nr,
        )

    def _probe_path(self, now: float, out: list[Datagrams]) -> None:
        """Answer the peer's packet size probe, and send our own when one is due."""
        if self._probe_reply:
            out.append(Datagrams(encode_probe_reply(self._state_packet(), self._probe_reply)))
            self._probe_reply = 0
        if size := self.outbound.due_probe(now):
            out.append(Datagrams(encode_probe(self._state_packet(), size)))

    def _state_packet(self, sack: int = 0) -> bytes:
        return encode(
            PacketType.STATE,
            self.send_id,
            self._now_us,
            self._timestamp_diff,
            self.inbound.advertise(),
            self.outbound.board.next_seq,
            self.inbound.ack_nr,
            sack,
        )

    def _send_syn(self, now: float, out: list[Datagrams]) -> None:
        stamp, window = int(now * 1e6), self.inbound.advertise()
        syn = encode(PacketType.SYN, self.receive_id, stamp, 0, window, self._syn_seq, 0)
        self._syn_at = now
        self._syn_count += 1
        out.append(Datagrams(syn))

    def _answer_syn(self, now: float) -> None:
        self._now_us = int(now * 1e6) & 0xFFFFFFFF
        self._syn_ack = self._state_packet()
        self._outbox.append(Datagrams(self._syn_ack))

    # Closing

    def finish(self) -> None:
        """Send a FIN after all that waits; receiving goes on. Idempotent."""
        self.outbound.finish()

    def reset(self, now: float) -> None:
        """End both directions at once and tell the peer. Idempotent."""
        if self.state in (State.CLOSED, State.FINISHED):
            return
        self._now_us = int(now * 1e6) & 0xFFFFFFFF
        self._close(None)
        if self._syn_count or self._syn_ack:
            seq = self.outbound.board.next_seq
            self._outbox.append(Datagrams(self._stamp(PacketType.RESET, seq)))

    def abort(self, now: float) -> None:
        """Reset, but let what the channel still wants to say (an alert) go out first."""
        self._now_us = int(now * 1e6) & 0xFFFFFFFF
        words: list[Datagrams] = []
        if self.state is State.CONNECTED:
            self.outbound.send(self._stamp, now, words)
        self.reset(now)
        self._outbox[:0] = words

    def abandon(self, error: KeynetError) -> None:
        """Close without a word: whoever is at the peer's address knows nothing of this."""
        self._close(error)

    @property
    def is_heard(self) -> bool:
        """There is nothing left to tell the peer: our FIN has arrived, or it would not listen."""
        return self.outbound.fin_acked or self.state is State.CLOSED

    def _close(self, error: KeynetError | None) -> None:
        self.state = State.CLOSED
        self.error = error
        self._outbox.clear()
        self.ack_due = False
        self.inbound.retire()

    def check_finished(self, now: float) -> None:
        """Both directions are over: forget everything but how to repeat the last ACK."""
        if self.state is State.CONNECTED and self.inbound.eof and self.outbound.fin_acked:
            self.state = State.FINISHED
            self._linger_at = now + LINGER
            self.inbound.retire()

    # Time

    def next_deadline(self) -> float | None:
        """When `handle_deadline` has something to do."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.FINISHED:
            return None if self.forgotten else self._linger_at
        if self.state is State.SYN_SENT:
            return self._next_syn_at
        if self.state is State.SYN_RECEIVED:
            return self._opened_at + HANDSHAKE_TIMEOUT
        return min(
            math.inf if self.proved else self._opened_at + 2 * HANDSHAKE_TIMEOUT,
            self.outbound.next_deadline(),
            self.inbound.idle_deadline(),
            self._ack_at,
            self._said_at + KEEPALIVE_INTERVAL,
            self._heard_at + IDLE_TIMEOUT,
        )

    @property
    def _next_syn_at(self) -> float:
        if not self._syn_count:
            return self._syn_at
        wait = SYN_TIMEOUT * (1 << (self._syn_count - 1))
        return min(self._syn_at + wait, self._opened_at + HANDSHAKE_TIMEOUT)

    def handle_deadline(self, now: float) -> None:
        """Do what is due by `now`."""
        if self.state is State.CONNECTED:
            self._handle_connected(now)
        elif self.state is State.FINISHED and now >= self._linger_at:
            self.forgotten = True
            self.inbound.retire()  # repeated packets may have made it active again
        elif self.state is State.SYN_SENT and now >= self._next_syn_at:
            if now >= self._opened_at + HANDSHAKE_TIMEOUT:
                waited = f"no answer within {HANDSHAKE_TIMEOUT:.0f} s"
                self._close(DeadlineExceeded(waited))
            else:
                self._send_syn(now, self._outbox)
        elif self.state is State.SYN_RECEIVED and now >= self._opened_at + HANDSHAKE_TIMEOUT:
            self._lose("the dialer fell silent during the handshake", now)

    def _handle_connected(self, now: float) -> None:
        self._now_us = int(now * 1e6) & 0xFFFFFFFF
        self.inbound.check_idle(now)
        if now >= self._ack_at:
            self.ack_due = True
        if not self.proved and now >= self._opened_at + 2 * HANDSHAKE_TIMEOUT:
            self._lose("the handshake did not end", now)
        elif now >= self._heard_at + IDLE_TIMEOUT:
            self._lose("the peer has been silent", now)
        elif not self.outbound.handle_deadline(self._stamp, now, self._outbox):
            self._lose("the peer stopped acknowledging", now)
        elif now >= self._said_at + KEEPALIVE_INTERVAL:
            self.ack_due = True

    def _lose(self, what: str, now: float) -> None:
        silent = now - self._heard_at
        self._close(ConnectionLost(f"{what} (nothing heard for {silent:.1f} s)"))

    def path_changed(self, rtt: float | None, now: float) -> None:
        """The link moved to another path: measurements start anew, the streams go on."""
        self._heard_at = now
        self.outbound.path_changed(rtt, now)
