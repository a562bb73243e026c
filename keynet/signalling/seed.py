"""What a seed does for the nodes that know it: registers, finds, and carries offers to them.

In-memory functions: peers have proved who they are before these are called, and `deliver` is how
the node reaches a registered peer. A seed reads nothing of what it carries, and decides nothing
but how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from keynet.address import NodeId, SocketAddress
from keynet.errors import IdentityError, LookupFailed, RemoteProtocolError, RpcError
from keynet.identity import PeerIdentity
from keynet.rates import Rates
from keynet.signalling.messages import MAX_BLOB, MAX_WAIT, Registration, read_registration
from keynet.signalling.registry import Entry, Registry

PERMISSION_DENIED, RESOURCE_EXHAUSTED = 7, 8
"""Of gRPC's status codes, which RpcError carries."""

Deliver = Callable[[PeerIdentity, bytes, float], Awaitable[bytes]]
"""Gives a sealed offer to a registered node, with the seconds that it should wait before it
punches; returns its sealed answer. Raises a KeynetError when the node is not to be reached."""

RoundTrip = Callable[[NodeId], float | None]
"""The measured round trip to a connected node in seconds, if there is one."""


@dataclass(frozen=True, slots=True)
class SeedLimits:
    """What one peer may ask of a seed, and for how long it is remembered."""

    registration_lifetime: float = 120.0
    """Seconds; members renew three times as often."""
    rate: float = 5.0
    """Requests a second of one peer, on average."""
    burst: float = 30.0


@dataclass(frozen=True, slots=True)
class Registered:
    """A seed's word to a member."""

    lifetime: float
    """Seconds that the registration is kept."""
    observed: SocketAddress
    """Where the member's datagrams come from: its address from outside."""


class Seed:
    """The functions of a seed. `now` is monotonic seconds everywhere."""

    def __init__(
        self,
        registry: Registry,
        deliver: Deliver,
        round_trip: RoundTrip,
        *,
        denied: Collection[NodeId] = (),
        limits: SeedLimits | None = None,
    ) -> None:
        self._registry = registry
        self._deliver = deliver
        self._round_trip = round_trip
        self._limits = limits or SeedLimits()
        self._rates: Rates[NodeId] = Rates(self._limits.rate, self._limits.burst)
        self.denied = set(denied)
        """Ids that are neither registered nor served; may be changed at any time."""
        self.counters: Counter[str] = Counter()
        """What was asked, by verb, and what was refused, by reason."""

    def __len__(self) -> int:
        """How many nodes are registered."""
        return len(self._registry)

    def register(
        self, peer: PeerIdentity, blob: bytes, observed: SocketAddress, now: float
    ) -> Registered:
        """Keep the peer's own registration for a while.

        Raises RemoteProtocolError, an IdentityError (not its own, or a newer key is known) or
        RpcError (too often, or denied).
        """
        self._admit("register", peer, now)
        registration = self._checked(peer, blob)
        lifetime = self._limits.registration_lifetime
        try:
            self._registry.put(Entry(registration.peer, blob, now + lifetime), now)
        except IdentityError:
            self.counters["refused: superseded key"] += 1
            raise
        return Registered(lifetime, observed)

    def unregister(self, peer: PeerIdentity, now: float) -> None:
        """Forget the peer. Idempotent."""
        self._admit("unregister", peer, now)
        self._registry.remove(peer)

    def find(self, peer: PeerIdentity, node_id: NodeId, now: float) -> bytes:
        """The registration of `node_id`, for the peer to check. Raises LookupFailed or RpcError."""
        self._admit("find", peer, now)
        return self._entry(node_id, now).blob

    async def offer(self, peer: PeerIdentity, to: NodeId, sealed: bytes, now: float) -> bytes:
        """Carry a sealed offer to a registered node, and its sealed answer back.

        Raises LookupFailed, RpcError, RemoteProtocolError, or what `deliver` raises.
        """
        self._admit("offer", peer, now)
        if len(sealed) > MAX_BLOB:
            self.counters["refused: too large"] += 1
            raise RemoteProtocolError(f"an offer has at most {MAX_BLOB} bytes")
        recipient = self._entry(to, now).peer
        trips = (self._round_trip(one.node_id) or 0.0 for one in (peer, recipient))
        answer = await self._deliver(recipient, sealed, min(MAX_WAIT, sum(trips) / 2))
        if len(answer) > MAX_BLOB:
            self.counters["refused: too large"] += 1
            raise RemoteProtocolError(f"an answer has at most {MAX_BLOB} bytes")
        return answer

    def _admit(self, verb: str, peer: PeerIdentity, now: float) -> None:
        self.counters[verb] += 1
        if not self.denied.isdisjoint(peer.lineage):
            self.counters["refused: denied"] += 1
            raise RpcError(PERMISSION_DENIED, "this seed does not serve you")
        wait = self._rates.take(peer.node_id, now)
        if wait:
            self.counters["refused: too often"] += 1
            raise RpcError(RESOURCE_EXHAUSTED, f"too often; try again in {wait:.3f} s")

    def _checked(self, peer: PeerIdentity, blob: bytes) -> Registration:
        try:
            return read_registration(blob, peer.node_id)
        except (IdentityError, RemoteProtocolError):
            self.counters["refused: bad registration"] += 1
            raise

    def _entry(self, node_id: NodeId, now: float) -> Entry:
        if node_id in self.denied:
            raise LookupFailed(f"{node_id} is not registered here")
        return self._registry.get(node_id, now)
