"""Who may begin a stream, and whose a packet is: SYNs, ids in use, and ids that nobody knows.

A SYN can be forged by anyone who guesses a 16-bit id, so by itself it ends nothing. For an id in
use it is answered with a SYN-ACK of a *challenger* (RFC 5961 section 4 in spirit): the stream that
is there goes on, until a packet acknowledges exactly that SYN-ACK, which only its receiver can
send. libutp begins every run with the same id, and never answers a plain ACK while it dials.
"""

from __future__ import annotations

from collections.abc import Callable

from keynet.engine import Buffer
from keynet.transport.utp.factory import StreamFactory
from keynet.transport.utp.packet import Packet, PacketType, decode, refusal
from keynet.transport.utp.proofs import Proofs
from keynet.transport.utp.stream import UtpStream
from keynet.transport.utp.table import StreamTable, is_dialers_id

MAX_RESETS = 16
"""RESETs that may wait to be sent; more unknown ids than that get no answer."""
STALE_AFTER = 3.0
"""A SYN for the id of a stream is looked at once that has been silent for so long."""


class Admission:
    """The door of one connection's streams."""

    __slots__ = ("_displace", "_factory", "_proofs", "_table", "closed", "dropped", "refusals")

    def __init__(
        self,
        table: StreamTable,
        factory: StreamFactory,
        proofs: Proofs,
        displace: Callable[[UtpStream], None],
    ) -> None:
        """`displace` ends a stream without a word: its peer knows nothing of it any more."""
        self._table = table
        self._factory = factory
        self._proofs = proofs
        self._displace = displace
        self.closed = False
        """No stream may begin any more."""
        self.dropped = 0
        """Packets that nobody took."""
        self.refusals: list[bytes] = []
        """RESETs that wait to be sent."""

    def receive_syn(self, packet: Packet, now: float) -> UtpStream | None:
        """The stream that answers a SYN, an old or a new one; None when nobody does."""
        receive_id = packet.connection_id + 1
        holder, challenger = self._table.holders(receive_id)
        for stream in (holder, challenger):
            if stream is not None and stream.utp.receive_syn(packet):
                return stream
        taken = holder is not None and (holder.local or not holder.utp.is_stale(now, STALE_AFTER))
        full = self._table.is_full(proved=self._proofs.peer is not None)
        if taken or full or self.closed or not is_dialers_id(packet.connection_id):
            self.dropped += 1
            return None
        if challenger is not None:
            self._displace(challenger)  # it was never more than a SYN; the newest one counts
        stream = self._factory.make(receive_id, packet, now)
        self._table.add(stream)
        return stream

    def owns(self, datagram: Buffer) -> bool:
        """Whether a datagram carries the id of a stream here; a SYN is nobody's yet."""
        packet = decode(memoryview(datagram))
        if packet is None or packet.type == PacketType.SYN:
            return False
        return self._table.find(packet.connection_id) is not None

    def owner(self, packet: Packet) -> UtpStream | None:
        """Whose packet it is; who has answered a challenge takes the id over. None: drop it."""
        stream, challenger = self._table.holders(packet.connection_id)
        if challenger is not None and challenger.utp.is_answered_by(packet):
            if stream is not None:
                self._displace(stream)
            self._table.promote(challenger)
            return challenger
        stream = stream or challenger
        if stream is None and packet.type == PacketType.RESET:
            # libutp's RESET carries the id of the packet it answers, not the receiver's own.
            stream = self._table.find_by_send_id(packet.connection_id)
        if stream is None:
            self._refuse(packet)
        return stream

    def _refuse(self, packet: Packet) -> None:
        self.dropped += 1
        if packet.type != PacketType.RESET and len(self.refusals) < MAX_RESETS:
            self.refusals.append(refusal(packet))
