"""What a registered node does with an offer: believes nothing, checks all of it, answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keynet.address import NodeId
from keynet.errors import IdentityError, RemoteProtocolError
from keynet.identity import Identity, PeerIdentity
from keynet.rates import Rates
from keynet.signalling.candidate import Candidate
from keynet.signalling.messages import MAX_WAIT, Offer, open_offer, seal_answer
from keynet.signalling.replay import Nonces, Sessions

Admits = Callable[[PeerIdentity], str | None]
"""Why a peer is not punched towards; None when it is."""

CandidatesFor = Callable[[Offer], Sequence[Candidate]]
"""What the sender of an offer is told of this node's addresses."""

RATE, BURST = 1.0, 10.0
"""Offers of one sender: a second on average, and at once."""
STRANGERS_RATE, STRANGERS_BURST = 12.0, 60.0
"""Offers of all whom no access rule names, together: an id costs nothing, and each offer makes this
node remember a session and ping addresses."""


@dataclass(frozen=True, slots=True)
class PunchRequested:
    """Begin to punch towards the peer of `offer` in `wait` seconds, as it will."""

    offer: Offer
    wait: float


class Answering:
    """Answers offers for one node."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        admits: Admits,
        candidates_for: CandidatesFor,
        transports: Sequence[str],
        *,
        trusts: Callable[[PeerIdentity], bool] = lambda _: False,
    ) -> None:
        """`trusts` says for whom there is always room, whatever strangers do."""
        self.nonces = Nonces(random)
        self.counters: Counter[str] = Counter()
        """Offers answered, and refused by reason."""
        self._admits = admits
        self._candidates_for = candidates_for
        self._transports = tuple(transports)
        self._sessions = Sessions()
        self._trusts = trusts
        self._rates: Rates[NodeId] = Rates(RATE, BURST)
        self._strangers: Rates[None] = Rates(STRANGERS_RATE, STRANGERS_BURST)

    def answer(
        self, identity: Identity, sealed: bytes, wait: float, now: float
    ) -> tuple[bytes, PunchRequested | None]:
        """The sealed answer, and what to do besides; nothing when the answer is a refusal.

        `wait` is the carrier's advice in seconds, taken within bounds. Raises RemoteProtocolError
        or an IdentityError for what deserves no answer: it is not from whom it says, not for us,
        or not new.
        """
        offer = self._checked(identity, sealed, now)
        refusal = self._refusal(offer, now)
        if refusal is not None:
            self.counters["refused"] += 1
            return seal_answer(identity, offer, (), (), refusal), None
        self._sessions.take(offer.session, now)
        self.counters["answered"] += 1
        candidates = self._candidates_for(offer)
        answer = seal_answer(identity, offer, candidates, self._transports)
        return answer, PunchRequested(offer, min(MAX_WAIT, max(0.0, wait)))  # NaN gives 0.0, too

    def _checked(self, identity: Identity, sealed: bytes, now: float) -> Offer:
        try:
            offer = open_offer(sealed, identity)
            if not self.nonces.is_good(offer.nonce, now):
                raise RemoteProtocolError("an offer carries no nonce of this node: it is stale")
            self._sessions.check(offer.session, now)
        except (RemoteProtocolError, IdentityError) as error:
            self.counters[f"dropped: {type(error).__name__}"] += 1
            raise
        return offer

    def _refusal(self, offer: Offer, now: float) -> str | None:
        refusal = self._admits(offer.peer)
        if refusal is not None:
            return refusal
        wait = self._rates.take(offer.peer.node_id, now)
        if wait:
            return f"too many offers of yours; try again in {wait:.1f} s"
        if not self._trusts(offer.peer) and self._strangers.take(None, now):
            return "too many offers of nodes that no access rule names; try again soon"
        return None
