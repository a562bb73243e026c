"""The streams of one connection, by the user's number and by uTP's connection id."""

from __future__ import annotations

from random import Random

from keynet.transport.api import StreamId
from keynet.transport.utp.connection import State
from keynet.transport.utp.stream import UtpStream

MAX_UNPROVED = 8
"""Streams that an address may begin before a handshake is done, and"""
MAX_HALF_OPEN = 1024
"""at once after the peer has proved who it is: a client may open many in one moment."""
MAX_STREAMS = 4096
_FIRST_ID, _LAST_ID = 2, 65532


def is_dialers_id(connection_id: int) -> bool:
    """Whether a SYN may carry it: neither it nor the dialer's next, one higher, is 0 or 65535."""
    return 0 < connection_id < 65534


class StreamTable:
    """Bounded. A finished stream's connection id stays known until its linger is over."""

    __slots__ = ("_by_receive_id", "_challengers", "half_open", "live")

    def __init__(self) -> None:
        self.live: dict[StreamId, UtpStream] = {}
        """Streams that are not over, oldest first."""
        self.half_open = 0
        """Streams of the peer's that have not proved anything yet."""
        self._by_receive_id: dict[int, UtpStream] = {}
        self._challengers: dict[int, UtpStream] = {}
        """By ids that are another stream's until these have proved their address."""

    def add(self, stream: UtpStream) -> None:
        """A stream that begins its handshake; where its id is in use, a challenger."""
        self.live[stream.stream_id] = stream
        taken = stream.utp.receive_id in self._by_receive_id
        (self._challengers if taken else self._by_receive_id)[stream.utp.receive_id] = stream
        self.half_open += not stream.local

    def promote(self, challenger: UtpStream) -> None:
        """The stream that had the id is gone: it is the challenger's now."""
        receive_id = challenger.utp.receive_id
        del self._challengers[receive_id]
        self._by_receive_id[receive_id] = challenger

    def secured(self, stream: UtpStream) -> None:
        """The stream's handshake is done."""
        self.half_open -= not stream.local

    def remove(self, stream: UtpStream) -> bool:
        """The stream is over; False when it was before."""
        if self.live.pop(stream.stream_id, None) is None:
            return False
        self.half_open -= not (stream.local or stream.secured)
        if stream.utp.state is not State.FINISHED:
            self.forget_id(stream)
        return True

    def forget_id(self, stream: UtpStream) -> None:
        """Packets for the stream's connection id are strangers from now on."""
        for streams in (self._by_receive_id, self._challengers):
            if streams.get(stream.utp.receive_id) is stream:
                del streams[stream.utp.receive_id]

    def find(self, receive_id: int) -> UtpStream | None:
        """Whom a packet with that connection id is for; None where that is not certain."""
        if receive_id in self._challengers:
            return None
        return self._by_receive_id.get(receive_id)

    def holders(self, receive_id: int) -> tuple[UtpStream | None, UtpStream | None]:
        """The stream with that connection id, and its challenger."""
        return self._by_receive_id.get(receive_id), self._challengers.get(receive_id)

    def find_by_send_id(self, send_id: int) -> UtpStream | None:
        """Whose packets carry that connection id; it differs from the receive id by one."""
        for receive_id in (send_id - 1, send_id + 1):
            stream = self._by_receive_id.get(receive_id)
            if stream is not None and stream.utp.send_id == send_id:
                return stream
        return None

    def is_full(self, *, proved: bool) -> bool:
        """No room for a stream that the peer opens; `proved`: it is known who the peer is."""
        most = MAX_HALF_OPEN if proved else MAX_UNPROVED
        return self.half_open >= most or len(self.live) >= MAX_STREAMS

    def free_id(self, random: Random) -> int:
        """An even id: a peer that does the same can never collide with it (SYN id plus one)."""
        while True:
            number = random.randrange(_FIRST_ID, _LAST_ID, 2)
            if number not in self._by_receive_id and number not in self._challengers:
                return number

    def stats(self) -> dict[str, float | int | str]:
        """Counters and gauges of all live streams together."""
        senders = [stream.utp.outbound for stream in self.live.values()]
        smoothed = [sender.rtt.smoothed for sender in senders if sender.rtt.smoothed]
        return {
            "streams": len(self.live),
            "rtt_ms": round(1000 * min(smoothed), 3) if smoothed else 0.0,
            "window": sum(sender.congestion.window for sender in senders),
            "in_flight": sum(sender.board.in_flight for sender in senders),
            "delivered": sum(sender.board.delivered for sender in senders),
            "retransmitted": sum(sender.retransmitted for sender in senders),
            "spurious": sum(sender.spurious for sender in senders),
            "received_drops": sum(s.utp.inbound.dropped for s in self.live.values()),
        }
