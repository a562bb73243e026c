"""aioquic's connection, made to do what keynet needs; the one place that touches its private parts.

- Both ends show a certificate, and the verifier of keynet judges it: aioquic can ask for a client's
  certificate, but has no switch for it.
- Credit follows what the application has read. aioquic raises its limits with what arrives.
- The packet size and what was learned of the path can be changed: the link below measures both.
- A value that only both ends of this connection know the like of, for proofs of newer identities.
- Only bidirectional streams, and a few unidirectional ones for such proofs.

Which of them aioquic still has, tests/test_aioquic.py checks. Nothing here knows of the engine.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from typing import Any, Protocol

from aioquic import tls
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.connection import (
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    QuicConnection,
    QuicConnectionAdapter,
    QuicConnectionState,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography import x509

from keynet.identity import Identity
from keynet_quic.header import CONNECTION_ID_SIZE, VERSIONS
from keynet_quic.proof import MAX_PROOF

PEER = "peer"
"""The address that aioquic knows the peer by: whichever the real one is, the link knows it."""
ALPN = "keynet/1"
STREAM_WINDOW = 1 << 20
"""Bytes of one stream that may be under way, or here and unread."""
CONNECTION_WINDOW = 16 << 20
"""The same of all streams together: this many stopped readers do not stop the others."""
MAX_STREAMS = 128
"""Streams that the peer may have open at once."""
MAX_PROOFS = 4
"""Unidirectional streams that it may have open at once."""
IDLE_TIMEOUT = 30.0
"""Seconds of silence that end a connection; longer than the link below takes to tell of a loss."""
USUAL_RTT = 0.1
"""Seconds that a round trip is taken to last until one has been measured."""
SMALLEST_PACKET = SMALLEST_MAX_DATAGRAM_SIZE
LARGEST_PACKET = 16383
"""aioquic writes lengths in two bytes, of which two bits are taken."""

_UNIDIRECTIONAL = 2  # this bit of a stream's id says so (RFC 9000 section 2.1)
_quiet = QuicConnectionAdapter(logging.Logger("keynet_quic.aioquic"), {"id": ""})
_quiet.logger.disabled = True  # it would quote what peers say


class Inbox(Protocol):
    """What the application has yet to read."""

    @property
    def unread(self) -> int:
        """Bytes, of all streams."""

    def unread_of(self, stream_id: int) -> int:
        """Bytes of one stream; 0 when it is gone."""


class _Credit(Limit):
    """MAX_DATA, which `offer` alone raises: what aioquic assigns to it has no effect."""

    offered = CONNECTION_WINDOW

    @property
    def value(self) -> int:
        return self.offered

    @value.setter
    def value(self, _doubled: int) -> None:
        pass

    def offer(self, limit: int) -> None:
        """In steps, so that few frames tell of it."""
        if limit - self.offered >= CONNECTION_WINDOW // 4:
            self.offered = limit


def configuration(local: Identity, mtu: int, rtt: float | None, *, dialing: bool) -> Any:
    """What both roles are set to."""
    return QuicConfiguration(
        is_client=dialing,
        alpn_protocols=[ALPN],
        certificate=local.chain[0],
        certificate_chain=list(local.chain[1:]),
        private_key=local.private_key,
        connection_id_length=CONNECTION_ID_SIZE,
        congestion_control_algorithm="cubic",
        idle_timeout=IDLE_TIMEOUT,
        initial_rtt=rtt or USUAL_RTT,
        max_datagram_size=packet_size(mtu),
        max_data=CONNECTION_WINDOW,
        max_stream_data=STREAM_WINDOW,
        supported_versions=list(VERSIONS),
        verify_mode=0,  # ssl.CERT_NONE: aioquic knows authorities, and keynet has none
    )


def packet_size(mtu: int) -> int:
    """The UDP payload to fill on a path of that MTU; QUIC needs 1200 bytes, come what may."""
    return max(SMALLEST_PACKET, min(mtu, LARGEST_PACKET))


class Connection(QuicConnection):
    """One QUIC connection, of which both ends will have shown a certificate."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        inbox: Inbox,
        *,
        original_id: bytes | None = None,
        retry_id: bytes | None = None,
    ) -> None:
        """A listener is given `original_id`, which the dialer made up, and after a Retry the
        `retry_id` that it was told instead."""
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        self._logger = self._loss._logger = _quiet
        self._inbox = inbox
        self._credit = _Credit(QuicFrameType.MAX_DATA, "max_data", CONNECTION_WINDOW)
        self._local_max_data = self._credit
        for limit, count in (
            (self._local_max_streams_bidi, MAX_STREAMS),
            (self._local_max_streams_uni, MAX_PROOFS),
        ):
            limit.value = limit.sent = count
        self._local_max_stream_data_uni = MAX_PROOF
        self._secrets: dict[tls.Direction, bytes] = {}
        self.binding = b""
        """What proofs are bound to, once the handshake is complete."""

    # Identity

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = True
        self.tls._signature_algorithms = [tls.SignatureAlgorithm.ED25519]

    def _update_traffic_key(
        self,
        direction: tls.Direction,
        epoch: tls.Epoch,
        cipher_suite: tls.CipherSuite,
        secret: bytes,
    ) -> None:
        super()._update_traffic_key(direction, epoch, cipher_suite, secret)
        if epoch is not tls.Epoch.ONE_RTT or self.binding:
            return
        self._secrets[direction] = secret
        if len(self._secrets) == len(tls.Direction):
            ours = (tls.Direction.ENCRYPT, tls.Direction.DECRYPT)
            order = ours if self._is_client else ours[::-1]
            both = b"".join(self._secrets[one] for one in order)
            self.binding = hmac.digest(both, b"keynet-quic binding v1", hashlib.sha256)
            self._secrets.clear()

    @property
    def shown(self) -> list[x509.Certificate]:
        """The certificates that the peer showed, leaf first; their keys' possession is proved."""
        leaf = self.tls._peer_certificate
        return [] if leaf is None else [leaf, *self.tls._peer_certificate_chain]

    # State

    @property
    def begun(self) -> bool:
        """Whether the peer has sent a packet that could be decrypted."""
        return self._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def ids(self) -> list[bytes]:
        """The connection ids that peers may use for this side."""
        return [one.cid for one in self._host_cids]

    @property
    def closed_by_peer(self) -> ConnectionTerminated | None:
        """The peer's CONNECTION_CLOSE; aioquic's event of it comes only after draining."""
        return self._close_event if self._state is QuicConnectionState.DRAINING else None

    @property
    def ending(self) -> ConnectionTerminated | None:
        """Why this side is closing, its own wish or the peer's fault, until that was sent."""
        return self._close_event if self._close_pending else None

    @property
    def received(self) -> int:
        """Bytes of streams that have arrived."""
        return self._credit.used

    @property
    def rtt(self) -> float | None:
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

    @property
    def window(self) -> int:
        """The congestion window, in bytes."""
        return self._loss.congestion_window

    def end_trace(self) -> None:
        """Let the qlog be written. Idempotent; aioquic does it only when it drains."""
        if self._quic_logger is not None:
            trace, self._quic_logger = self._quic_logger, None
            self._loss._quic_logger = None
            assert self._configuration.quic_logger is not None, "it has started the trace"
            self._configuration.quic_logger.end_trace(trace)

    # Streams

    def open(self, *, unidirectional: bool = False) -> QuicStream:
        """A new stream. The peer learns of it with its first bytes."""
        stream_id = self.get_next_available_stream_id(unidirectional)
        self.send_stream_data(stream_id, b"")
        return self._streams[stream_id]

    def find(self, stream_id: int) -> QuicStream | None:
        return self._streams.get(stream_id)

    @property
    def takes_proofs(self) -> bool:
        """Whether the peer has room for unidirectional streams; a foreign one may have none."""
        return self._remote_max_streams_uni > 0

    def drop(self, stream_id: int, code: int) -> None:
        """Reset our half, and ask the peer to reset its."""
        self.reset_stream(stream_id, code)
        stream = self.find(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.stop_stream(stream_id, code)

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        gaps = sum(
            stream.receiver.highest_offset - stream.receiver.starting_offset()
            for stream in self._streams.values()
            if not stream.receiver.is_finished
        )
        held = gaps + self._inbox.unread
        self._credit.offer(self._credit.used - held + CONNECTION_WINDOW)
        super()._write_connection_limits(builder, space)

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        receiver, stream_id = stream.receiver, stream.stream_id
        if stream_id is None or stream_id & _UNIDIRECTIONAL or receiver.is_finished:
            return
        read = receiver.starting_offset() - self._inbox.unread_of(stream_id)
        if read + STREAM_WINDOW - stream.max_stream_data_local >= STREAM_WINDOW // 4:
            stream.max_stream_data_local = read + STREAM_WINDOW
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        buffer.push_uint_var(stream_id)
        buffer.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    # Path

    def resize(self, mtu: int) -> None:
        """Fill packets of another size from now on."""
        size = self._max_datagram_size = packet_size(mtu)
        self._loss._pacer._max_datagram_size = size
        vars(self._loss._cc)["_max_datagram_size"] = size  # every controller has its own

    def forget_path(self, mtu: int, rtt: float | None, now: float) -> None:
        """Begin anew on another path: what is in flight is sent again, sized for it."""
        loss = self._loss
        for space in self._spaces.values():
            packets = tuple(space.sent_packets.values())
            loss._on_packets_lost(congestion_event=False, now=now, packets=packets, space=space)
            space.loss_time = None
        size = packet_size(mtu)
        loss._cc = create_congestion_control(
            self._configuration.congestion_control_algorithm, max_datagram_size=size
        )
        loss._pacer = QuicPacketPacer(max_datagram_size=size)
        loss._pto_count = 0
        loss._rtt_initial, loss._rtt_initialized = rtt or USUAL_RTT, False
        loss._rtt_latest = loss._rtt_smoothed = loss._rtt_variance = 0.0
        loss._rtt_min = math.inf
        self._pacing_at = None
        self.resize(mtu)
        if self._handshake_complete:
            self._send_probe()
