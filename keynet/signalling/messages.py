"""Registrations, offers and answers: what nodes tell each other through a seed that may lie. Pure.

A **registration** is signed by its node: whoever looks one up can check the chain and the nonce end
to end. An **offer** is signed by its sender and sealed to the recipient, and carries the nonce of
the recipient's registration; its **answer** is sealed back and names the offer's session. A seed
can hold any of them up, and nothing else. docs/protocol.md says the same in bytes.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta

from keynet.address import NodeId, SocketAddress
from keynet.errors import RemoteProtocolError, UnclaimedNodeId
from keynet.identity import MAX_CHAIN, Identity, PeerIdentity, read_certificate, verify_chain
from keynet.identity.sealing import seal, unseal
from keynet.signalling.candidate import MAX_CANDIDATES, Candidate, CandidateKind

NONCE_BYTES = 16
SESSION_BYTES = 16
MAX_BLOB = 16384
"""Bytes of a registration or of a sealed message; the longest honest one has about 12,000."""
MAX_TRANSPORTS = 8
MAX_WAIT = 1.0
"""Seconds; a round trip through a seed that is longer than two seconds is not waited out."""

_OFFER = b"keynet offer v1"
_ANSWER = b"keynet answer v1"
_REGISTRATION = b"keynet registration v1"
_KEYS_TRIED = 3
"""The current key and the latest retired ones: a sender may not know of a rotation yet."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registration:
    """A node that a seed can reach, as the node itself says."""

    peer: PeerIdentity
    nonce: bytes
    """What an offer to it must carry."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A node asks another to punch towards it, now."""

    session: bytes
    peer: PeerIdentity
    """Who offers."""
    nonce: bytes
    """Of the registration that the sender had seen; the recipient checks that it is its own."""
    candidates: tuple[Candidate, ...]
    transports: tuple[str, ...]
    """What it speaks, in order of preference."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The other node's word on an offer."""

    session: bytes
    peer: PeerIdentity
    """Who answers."""
    candidates: tuple[Candidate, ...]
    transports: tuple[str, ...]
    refusal: str | None = None
    """Why it will not punch, for people; None when it does."""


# The wire: msgpack. Unknown fields are skipped, so that later versions may add some.

_Short = Annotated[str, Meta(max_length=64)]
_Session = Annotated[bytes, Meta(min_length=SESSION_BYTES, max_length=SESSION_BYTES)]
_Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Chain = Annotated[list[bytes], Meta(min_length=1, max_length=MAX_CHAIN)]


class _Candidate(msgspec.Struct, frozen=True, array_like=True):
    kind: CandidateKind
    host: _Short
    port: Annotated[int, Meta(ge=1, le=65535)]
    priority: Annotated[int, Meta(ge=0, lt=1 << 31)]
    foundation: Annotated[str, Meta(max_length=32)]


_Candidates = Annotated[list[_Candidate], Meta(max_length=MAX_CANDIDATES)]
_Transports = Annotated[list[_Short], Meta(max_length=MAX_TRANSPORTS)]


class _Offer(msgspec.Struct, frozen=True):
    session: _Session
    nonce: _Nonce
    chain: _Chain
    candidates: _Candidates
    transports: _Transports


class _Answer(msgspec.Struct, frozen=True):
    session: _Session
    chain: _Chain
    candidates: _Candidates
    transports: _Transports
    refusal: Annotated[str, Meta(max_length=300)] | None = None


class _Registration(msgspec.Struct, frozen=True):
    nonce: _Nonce
    chain: _Chain
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


# Registrations.


def sign_registration(identity: Identity, nonce: bytes) -> bytes:
    """What a node gives to its seeds."""
    signature = identity.private_key.sign(_REGISTRATION + nonce)
    return msgspec.msgpack.encode(_Registration(nonce, _der(identity), signature))


def read_registration(
    blob: bytes, expected: NodeId | None = None, now: datetime | None = None
) -> Registration:
    """Check a registration, and that it is of the node `expected`, if that is given.

    Raises RemoteProtocolError, or the IdentityError of its chain.
    """
    wire = _decode(blob, _Registration, "registration")
    peer = _verified(wire.chain, expected, now)
    key = Ed25519PublicKey.from_public_bytes(peer.node_id.public_key)
    try:
        key.verify(wire.signature, _REGISTRATION + wire.nonce)
    except InvalidSignature as error:
        raise RemoteProtocolError("a registration is not signed by its node") from error
    return Registration(peer, wire.nonce)


# Offers and answers.


def seal_offer(
    identity: Identity,
    to: Registration,
    session: bytes,
    candidates: Sequence[Candidate],
    transports: Sequence[str],
) -> bytes:
    """An offer that only the node of `to` can read."""
    wire = _Offer(session, to.nonce, _der(identity), _packed(candidates), list(transports))
    text = msgspec.msgpack.encode(wire)
    return seal(text, identity.private_key, to.peer.node_id, _OFFER)


def open_offer(sealed: bytes, identity: Identity, now: datetime | None = None) -> Offer:
    """Read an offer to this node. Whether its nonce is ours, and new, is the caller's to check.

    Raises RemoteProtocolError or the IdentityError of the sender's chain.
    """
    sender, text = _unseal(sealed, identity, _OFFER)
    wire = _decode(text, _Offer, "offer")
    peer = _sent_by(sender, wire.chain, None, now)
    candidates, transports = _unpacked(wire.candidates), tuple(map(_shown, wire.transports))
    return Offer(wire.session, peer, wire.nonce, candidates, transports)


def seal_answer(
    identity: Identity,
    offer: Offer,
    candidates: Sequence[Candidate],
    transports: Sequence[str],
    refusal: str | None = None,
) -> bytes:
    """The answer to `offer`, for its sender alone."""
    packed, spoken = _packed(candidates), list(transports)
    wire = _Answer(offer.session, _der(identity), packed, spoken, refusal)
    text = msgspec.msgpack.encode(wire)
    return seal(text, identity.private_key, offer.peer.node_id, _ANSWER)


def open_answer(
    sealed: bytes,
    identity: Identity,
    session: bytes,
    expected: NodeId,
    now: datetime | None = None,
) -> Answer:
    """Read the answer of the node `expected` to this node's offer `session`.

    Raises RemoteProtocolError, or the IdentityError of its chain.
    """
    sender, text = _unseal(sealed, identity, _ANSWER)
    wire = _decode(text, _Answer, "answer")
    if wire.session != session:
        raise RemoteProtocolError("an answer belongs to another offer")
    peer = _sent_by(sender, wire.chain, expected, now)
    candidates, transports = _unpacked(wire.candidates), tuple(map(_shown, wire.transports))
    refusal = _shown(wire.refusal) if wire.refusal is not None else None
    return Answer(session, peer, candidates, transports, refusal)


# Pieces.


def _decode(data: bytes, kind: type[T], what: str) -> T:
    if len(data) > MAX_BLOB:
        raise RemoteProtocolError(f"the {what} has more than {MAX_BLOB} bytes")
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"malformed {what}") from error


def _unseal(sealed: bytes, identity: Identity, purpose: bytes) -> tuple[NodeId, bytes]:
    if len(sealed) > MAX_BLOB:
        raise RemoteProtocolError(f"a sealed message has more than {MAX_BLOB} bytes")
    for key in (identity.private_key, *identity.retired_keys[: _KEYS_TRIED - 1]):
        with contextlib.suppress(RemoteProtocolError):
            return unseal(sealed, key, purpose)
    raise RemoteProtocolError("a sealed message is not for this node, or was altered")


def _sent_by(
    sender: NodeId, chain: Sequence[bytes], expected: NodeId | None, now: datetime | None
) -> PeerIdentity:
    peer = _verified(chain, expected, now)
    if peer.node_id != sender:
        raise UnclaimedNodeId(f"sealed by {sender.short}, with the chain of {peer.node_id.short}")
    return peer


def _verified(
    chain: Sequence[bytes], expected: NodeId | None, now: datetime | None
) -> PeerIdentity:
    return verify_chain([read_certificate(der) for der in chain], expected, now)


def _der(identity: Identity) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in identity.chain]


def _packed(candidates: Sequence[Candidate]) -> list[_Candidate]:
    return [
        _Candidate(one.kind, *one.address, one.priority, one.foundation)
        for one in candidates[:MAX_CANDIDATES]
    ]


def _unpacked(wire: Sequence[_Candidate]) -> tuple[Candidate, ...]:
    """Each address once, in its one spelling; what is no IP address is for other versions."""
    found = {}
    for one in wire:
        with contextlib.suppress(ValueError):
            ip = ipaddress.ip_address(one.host)
            address = SocketAddress(str(getattr(ip, "ipv4_mapped", None) or ip), one.port)
            found[address] = Candidate(one.kind, address, one.priority, _shown(one.foundation))
    return tuple(found.values())


def _shown(text: str) -> str:
    """What another node wrote, fit to be shown."""
    return "".join(c if c.isprintable() else "?" for c in text)
