"""The hello: each side proves its chain, and both get a key that authenticates what follows.

    HELLO   dialer's nonce, padded to 1200 bytes (so that an answer never amplifies much)
    ANSWER  both nonces, signature, listener's chain
    PROOF   both nonces, signature, dialer's chain

A nonce is an ephemeral X25519 public key; the signature, by the leaf's key, covers the signer's
role, both nonces and the chain. Damaged or forged messages are dropped: the true one is repeated.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from keynet.address import NodeId
from keynet.engine import Buffer
from keynet.errors import IdentityError
from keynet.identity import Identity, PeerIdentity, verify_chain

HELLO, ANSWER, PROOF, SEALED = (b"KLB1" + kind for kind in (b"H", b"A", b"P", b"S"))
KIND, NONCE, SIGNATURE, TAG = 5, 32, 64, 16
HELLO_SIZE = 1200
SEAL_OVERHEAD = KIND + TAG


def is_first(datagram: Buffer) -> bool:
    """Whether `datagram` is a HELLO by its structure."""
    return len(datagram) == HELLO_SIZE and bytes(datagram[:KIND]) == HELLO


class Hello:
    """One side of the handshake; afterwards it seals and opens packets, and proves new keys."""

    def __init__(self, local: Identity, expected: NodeId | None, *, dialing: bool) -> None:
        self.dialing = dialing
        self.peer: PeerIdentity | None = None
        self.error: IdentityError | None = None
        self._local, self._expected = local, expected
        self._secret = X25519PrivateKey.generate()
        self._nonce = self._secret.public_key().public_bytes_raw()
        self._nonces = b""
        """The dialer's and the listener's, once both are known."""
        self._key = b""
        self._accepted: bytes | None = None

    def message(self) -> bytes | None:
        """What to send now, and again until it is answered."""
        if not self._nonces:
            return (HELLO + self._nonce).ljust(HELLO_SIZE, b"\0") if self.dialing else None
        kind = PROOF if self.dialing else ANSWER
        return kind + self._nonces + self._signed(kind, self._local)

    def _signed(self, kind: bytes, local: Identity) -> bytes:
        chain = b"".join(c.public_bytes(Encoding.PEM) for c in local.chain)
        return local.private_key.sign(kind + self._nonces + chain) + chain

    def proof_of(self, local: Identity) -> bytes:
        """What proves to the peer, inside a sealed packet, that this side is `local` now."""
        return self._signed(PROOF if self.dialing else ANSWER, local)

    def changed(self, proof: bytes) -> PeerIdentity | None:
        """Take the peer's `proof_of`: who it is now; None when that proves nothing of the kind."""
        known, kind = self.peer, ANSWER if self.dialing else PROOF
        if known is None:
            return None
        found = self._verified(kind + self._nonces, proof[:SIGNATURE], proof[SIGNATURE:])
        if found is None:
            return None
        try:
            self.peer = verify_chain(found, known.node_id)
        except IdentityError:
            return None
        return self.peer

    def receive(self, message: bytes) -> bool:
        """Take a message; True when it was the one waited for, or that one again.

        Look at `peer` and `error` then.
        """
        if message == self._accepted:
            return True
        if not self.dialing and not self.peer and is_first(message):  # the newest HELLO counts
            self._nonces = message[KIND : KIND + NONCE] + self._nonce
            self._accepted = message
            return True
        if self.peer or message[:KIND] != (ANSWER if self.dialing else PROOF):
            return False
        nonces, rest = message[KIND : KIND + 2 * NONCE], message[KIND + 2 * NONCE :]
        mine = nonces[:NONCE] == self._nonce if self.dialing else nonces == self._nonces
        if not mine or not self._proved(message[:KIND], nonces, rest[:SIGNATURE], rest[SIGNATURE:]):
            return False
        self._accepted = message
        return True

    def _proved(self, kind: bytes, nonces: bytes, signature: bytes, pem: bytes) -> bool:
        try:
            theirs = X25519PublicKey.from_public_bytes(
                nonces[NONCE if self.dialing else 0 :][:NONCE]
            )
            shared = self._secret.exchange(theirs)
        except ValueError:
            return False
        chain = self._verified(kind + nonces, signature, pem)
        if chain is None:
            return False
        try:
            self.peer = verify_chain(chain, self._expected)
        except IdentityError as error:
            self.error = error
            return True
        ids = sorted((self._local.node_id.public_key, self.peer.node_id.public_key))
        self._nonces = nonces
        self._key = hashlib.blake2b(b"".join((shared, nonces, *ids)), digest_size=32).digest()
        return True

    @staticmethod
    def _verified(head: bytes, signature: bytes, pem: bytes) -> list[x509.Certificate] | None:
        """The chain in `pem`, if its leaf's key has signed it with `head` before it."""
        try:
            chain = x509.load_pem_x509_certificates(pem)
            key = chain[0].public_key()
            if not isinstance(key, Ed25519PublicKey):
                return None
            key.verify(signature, head + pem)
        except (ValueError, InvalidSignature, UnsupportedAlgorithm):
            return None
        return chain

    def seal(self, body: bytes) -> bytes:
        return SEALED + self._tag(body, self.dialing) + body

    def open(self, packet: bytes) -> bytes | None:
        """The body; None when the packet was not sealed by the peer."""
        body = packet[SEAL_OVERHEAD:]
        genuine = hmac.compare_digest(packet[KIND:SEAL_OVERHEAD], self._tag(body, not self.dialing))
        return body if genuine and self.peer else None

    def _tag(self, body: bytes, by_dialer: bool) -> bytes:
        person = b"dialer" if by_dialer else b"listener"
        return hashlib.blake2b(body, digest_size=TAG, key=self._key, person=person).digest()
