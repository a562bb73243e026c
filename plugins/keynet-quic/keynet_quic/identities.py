"""Who both ends of a connection are, and how each tells the other of a newer key: T-09.

A proof (proof.py) goes out at once; until the peer has acknowledged it, no stream is announced
here, so that whatever happens on the next one happens after the peer has learned of it.
"""

from __future__ import annotations

from aioquic.quic.stream import QuicStream

from keynet.address import NodeId
from keynet.errors import EmptyChain, HandshakeFailed, RemoteProtocolError
from keynet.identity import Identity, PeerIdentity, verify_chain
from keynet_quic.connection import ALPN, Connection
from keynet_quic.proof import DIALER, LISTENER, MAX_PROOF, prove, verify

_UNIDIRECTIONAL = 2


class Identities:
    """Of one connection."""

    def __init__(self, connection: Connection, expected: NodeId | None, *, dialing: bool) -> None:
        """`expected` is whom a dialled peer must prove to be."""
        self.peer: PeerIdentity | None = None
        """The newest that the peer has proved."""
        self._connection, self._expected = connection, expected
        self._ours, self._theirs = (DIALER, LISTENER) if dialing else (LISTENER, DIALER)
        self._arriving: dict[int, bytearray] = {}
        self._sent: list[QuicStream] = []
        self._unproved: Identity | None = None
        """Whom this side became before the handshake was over."""

    def judge(self, alpn: str | None) -> PeerIdentity:
        """Who the peer is, once the handshake is complete, by keynet's verifier.

        Raises IdentityError or HandshakeFailed.
        """
        if alpn != ALPN:
            raise HandshakeFailed(f"the peer does not speak {ALPN}")
        shown = self._connection.shown
        if not shown:
            raise EmptyChain("the peer showed no certificate")
        self.peer = verify_chain(shown, self._expected)
        if self._unproved is not None:
            self.change(self._unproved)
        return self.peer

    def change(self, local: Identity) -> None:
        """Prove `local` to the peer, now or as soon as it can be done."""
        if self.peer is None:
            self._unproved = local
        elif self._connection.takes_proofs:
            stream = self._connection.open(unidirectional=True)
            proof = prove(local, self._ours, self._connection.binding)
            assert stream.stream_id is not None
            self._connection.send_stream_data(stream.stream_id, proof, end_stream=True)
            self._sent.append(stream)

    @property
    def told(self) -> bool:
        """Whether the peer knows who this side is by now."""
        if self._sent:
            self._sent = [stream for stream in self._sent if not stream.sender.is_finished]
        return not self._sent

    # What the peer proves

    @staticmethod
    def is_proof(stream_id: int) -> bool:
        """Whether a stream can carry nothing else."""
        return bool(stream_id & _UNIDIRECTIONAL)

    def forget(self, stream_id: int) -> None:
        """The peer has given that one up."""
        self._arriving.pop(stream_id, None)

    def take(self, stream_id: int, data: bytes, end: bool) -> PeerIdentity | None:
        """Take a piece of a proof; gives the peer's newer identity when it is whole and news.

        Raises IdentityError or RemoteProtocolError for what is no proof.
        """
        proof = self._arriving.setdefault(stream_id, bytearray())
        proof += data
        if len(proof) > MAX_PROOF:
            raise RemoteProtocolError("a unidirectional stream is longer than any proof")
        if not end or self.peer is None:
            return None
        del self._arriving[stream_id]
        proved = verify(bytes(proof), self._theirs, self._connection.binding, self.peer)
        if not proved.supersedes(self.peer):
            return None  # two were sent one after the other, and the older one came last
        self.peer = proved
        return proved
