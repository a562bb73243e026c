"""QUIC (RFC 9000) for keynet, with aioquic's connection as the engine.

Here is only what the entry point names: `transport()` and the object that it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams
from keynet.identity import Identity
from keynet.transport.api import Capability, LinkInfo, TransportEngine
from keynet_quic import header
from keynet_quic.connection import PEER, Connection, configuration
from keynet_quic.engine import KEY_PACKETS, Engine
from keynet_quic.identities import Identities
from keynet_quic.qlog import QlogDirectory
from keynet_quic.retry import Strangers
from keynet_quic.sent_back import SentBack
from keynet_quic.streams import Streams


@dataclass(frozen=True, slots=True)
class QuicTransport:
    """Makes engines; keeps only count of the strangers among them."""

    name: str = "quic"
    capabilities: Capability = Capability.STREAMS | Capability.LIVENESS
    first_bytes: bytes = header.FIRST_BYTES
    """For the demultiplexer: what its datagrams begin with."""
    qlog: QlogDirectory | None = None
    """Where traces go, if anywhere."""
    strangers: Strangers = field(default_factory=Strangers)
    """Who is being answered without having proved anything."""
    key_packets: int = KEY_PACKETS
    """After how many packets sent a connection changes its keys."""

    def claims(self, datagram: Buffer) -> bool:
        return header.initial(datagram) is not None

    def connection_id(self, datagram: Buffer) -> bytes | None:
        """For the demultiplexer: the id by which the receiver of a datagram knows it."""
        return header.connection_id(datagram)

    def connect(self, link: LinkInfo, local: Identity, expected: NodeId, now: float) -> Engine:
        streams = Streams(dialing=True)
        settings = configuration(local, link.mtu, link.rtt, dialing=True)
        settings.quic_logger = self.qlog
        connection = Connection(settings, streams)
        connection.connect(PEER, now)
        return Engine(
            link,
            connection,
            streams,
            Identities(connection, expected, dialing=True),
            settled=self.strangers.settled,
            key_packets=self.key_packets,
        )

    def accept(
        self, link: LinkInfo, first: Datagrams, local: Identity, now: float
    ) -> TransportEngine:
        begins = header.initial(next(iter(first), b""))
        if begins is None:
            return SentBack(None)
        admitted = self.strangers.admit(begins, now)
        if admitted is None and self.strangers.flooding:
            return SentBack(self.strangers.retry(begins, now))
        streams = Streams(dialing=False)
        settings = configuration(local, link.mtu, link.rtt, dialing=False)
        settings.quic_logger = self.qlog
        connection = Connection(
            settings,
            streams,
            original_id=admitted.original_id if admitted else begins.destination_cid,
            retry_id=admitted.retry_id if admitted else None,
        )
        engine = Engine(
            link,
            connection,
            streams,
            Identities(connection, None, dialing=False),
            settled=self.strangers.settled,
            key_packets=self.key_packets,
        )
        self.strangers.joined(engine)
        engine.know_as(begins.destination_cid)
        engine.answer(first, now)
        return engine


def transport(qlog: str = "") -> QuicTransport:
    """The factory that the entry point `keynet.transport: quic` names.

    `qlog` is a directory for traces of every connection. Raises ConfigError when it is none.
    """
    return QuicTransport(qlog=QlogDirectory(qlog) if qlog else None)
