"""A channel without encryption or identity: bare uTP, for foreign peers and for benchmarks.

Never for production: nothing proves who the peer is. It lives here so that no shipped transport
can be configured into it.
"""

from __future__ import annotations

from collections import deque
from random import Random, SystemRandom

from keynet.address import NodeId
from keynet.engine import Buffer
from keynet.errors import KeynetError
from keynet.identity import Identity, PeerIdentity
from keynet.transport.api import Capability
from keynet.transport.channel import SecureChannel
from keynet.transport.utp import Settings, Utp


class PlainChannel:
    """`keynet.transport.channel.SecureChannel` that secures nothing: bytes pass as they are.

    It is established as soon as uTP is connected; its peer is whoever it was told.
    """

    def __init__(self, peer: PeerIdentity) -> None:
        self.peer = peer
        self.established = True
        self.error: KeynetError | None = None
        self.eof_received = False
        self.pending = 0
        self._out: deque[Buffer] = deque()
        self._in: deque[bytes] = deque()

    def feed(self, ciphertext: Buffer) -> None:
        self._in.append(bytes(ciphertext))

    def feed_eof(self) -> None:
        self.eof_received = True

    def read(self, max_bytes: int) -> bytes:
        data = b"".join(self._in)
        self._in.clear()
        if len(data) > max_bytes:
            self._in.append(data[max_bytes:])
        return data[:max_bytes]

    def write(self, data: Buffer) -> None:
        self._out.append(bytes(data))
        self.pending += len(data)

    def write_eof(self) -> None:
        """Nothing: the FIN is the end."""

    def pull(self, max_bytes: int) -> bytes:
        taken: list[Buffer] = []
        while self._out and max_bytes > 0:
            piece = self._out.popleft()
            if len(piece) > max_bytes:
                view = memoryview(piece)
                self._out.appendleft(view[max_bytes:])
                piece = view[:max_bytes]
            taken.append(piece)
            max_bytes -= len(piece)
            self.pending -= len(piece)
        return b"".join(taken)


class PlainUtp(Utp):
    """uTP without TLS. Every peer passes for the identity given (foreign ones have none)."""

    name = "plain-utp"
    capabilities = Capability.STREAMS

    def __init__(
        self,
        peer: PeerIdentity,
        congestion: str,
        *,
        max_packet: int = 65535,
        random: Random | None = None,
    ) -> None:
        """`max_packet`: foreign peers may cut datagrams above 1472 bytes without saying so."""
        super().__init__(Settings(congestion, random or SystemRandom(), max_packet))
        self._peer = peer

    def _channel(
        self, local: Identity, opened_here: bool, expected: NodeId | None
    ) -> SecureChannel:
        return PlainChannel(self._peer)
