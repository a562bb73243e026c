"""Nodes and what they say, for tests of signalling."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from keynet.address import SocketAddress
from keynet.identity import Identity, PeerIdentity, verify_chain
from keynet.signalling.candidate import Candidate, CandidateKind, candidate

ALICE, BOB, EVE = (Identity.generate() for _ in range(3))
SOMEWHERE = SocketAddress("198.51.100.7", 4000)
CANDIDATES: tuple[Candidate, ...] = (
    candidate(CandidateKind.HOST, SocketAddress("192.168.1.5", 4000)),
    candidate(CandidateKind.REFLEXIVE, SOMEWHERE),
)


def peer(identity: Identity) -> PeerIdentity:
    return verify_chain(identity.chain, identity.node_id)


def counting() -> Callable[[int], bytes]:
    """Bytes that differ each time, and are the same in each run."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size)
