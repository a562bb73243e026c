"""How a stream of a connection is put together: settings, shared parts, and parts of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from keynet.address import NodeId
from keynet.identity import Identity
from keynet.transport.api import LinkInfo, StreamId
from keynet.transport.channel import SecureChannel
from keynet.transport.utp import congestion
from keynet.transport.utp.connection import UtpConnection
from keynet.transport.utp.mtu import PathMtu
from keynet.transport.utp.packet import Packet
from keynet.transport.utp.proofs import Proofs
from keynet.transport.utp.stream import UtpStream
from keynet.transport.utp.unproved import NoChannel
from keynet.udp.budget import ReceiveBudget

ChannelFactory = Callable[[Identity, bool, NodeId | None], SecureChannel]
"""Makes the secure channel of a stream: as whom, whether this side opened the stream, and whom the
peer must prove to be (None: anybody)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the factory of the transport was given."""

    congestion: str
    random: Random
    max_packet: int = 65535
    """The largest UDP payload that an authenticated peer may be sent."""


class StreamFactory:
    """Makes the streams of one connection. They share the link and what is known of its MTU."""

    __slots__ = (
        "_count",
        "_link",
        "_make_channel",
        "_mtu",
        "_proofs",
        "_settings",
        "_strangers",
        "local",
    )

    def __init__(
        self,
        link: LinkInfo,
        make_channel: ChannelFactory,
        settings: Settings,
        mtu: PathMtu,
        local: Identity,
        proofs: Proofs,
    ) -> None:
        self.local = local
        """Whom streams that begin from now on prove to the peer."""
        self._link = link
        self._make_channel = make_channel
        self._proofs = proofs
        self._settings = settings
        self._mtu = mtu
        self._strangers = ReceiveBudget(0)
        """For streams whose openers have proved nothing yet: the smallest windows."""
        self._count: StreamId = 0

    def make(self, receive_id: int, syn: Packet | None, now: float) -> UtpStream:
        """A stream that dials, or that answers `syn`."""
        channel = self._channel(True) if syn is None else NoChannel()
        random = self._settings.random
        utp = UtpConnection(
            receive_id,
            syn=syn,
            seq_nr=random.randrange(1, 65536),
            source=channel,
            mtu=self._mtu,
            congestion=congestion.create(self._settings.congestion, self._mtu.size, now, random),
            budget=self._link.budget if syn is None else self._strangers,
            now=now,
        )
        if self._link.rtt is not None:
            utp.outbound.rtt.update(self._link.rtt)
        self._count += 1
        return UtpStream(self._count, utp, channel, self._channel)

    def _channel(self, opened_here: bool) -> SecureChannel:
        return self._make_channel(self.local, opened_here, self._proofs.expected)

    def trust(self, stream: UtpStream) -> None:
        """The peer has proved who it is: the stream's window may be what the socket holds."""
        inbound = stream.utp.inbound
        if inbound.budget is self._strangers:
            inbound.retire()
            inbound.budget = self._link.budget
            stream.utp.ack_due = True
