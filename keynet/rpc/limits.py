"""What peers' calls may take of a node: how many at once, how often, how large, how long. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from keynet.address import NodeId
from keynet.errors import ConfigError
from keynet.rates import Rates
from keynet.rpc.api import MAX_MESSAGE_SIZE, UNARY_TIMEOUT
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error


@dataclass(frozen=True, slots=True)
class Limits:
    """What one node takes on for its peers."""

    max_message_size: int = MAX_MESSAGE_SIZE
    """Bytes of one encoded request, item or result."""
    max_calls: int = 1024
    """Calls that run at the same time."""
    max_strangers_calls: int = 512
    """Of these, calls of peers that may call public services only: a node id costs nothing, and
    whoever makes many is not to keep out those whom the owner lets in."""
    max_calls_per_peer: int = 128
    """Calls of one peer that run at the same time."""
    public_rate: float = 50.0
    """Calls a second of one peer to public services, on average."""
    public_burst: int = 100
    """Calls of one peer to public services at once, after a rest."""
    max_unary_timeout: float | None = 900.0
    """Seconds that a unary call may take, whatever its caller asks for; None for no limit."""
    max_stream_timeout: float | None = None
    """Seconds that any other call may take; None for no limit."""

    def __post_init__(self) -> None:
        """Raises ConfigError when nothing at all could be called."""
        counts = ("max_calls", "max_strangers_calls", "max_calls_per_peer", "public_burst")
        for name in ("max_message_size", *counts):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is 1 or more, not {getattr(self, name)}")
        for name in ("public_rate", "max_unary_timeout", "max_stream_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is above 0, not {value}")

    def timeout(self, kind: Kind, asked: float | None) -> float | None:
        """Seconds that a call may take when its caller asks for `asked`; None for no limit."""
        most = self.max_stream_timeout
        if kind is Kind.UNARY:
            asked = UNARY_TIMEOUT if asked is None else asked
            most = self.max_unary_timeout
        if asked is None or most is None:
            return most if asked is None else asked
        return min(asked, most)


DEFAULT = Limits()


class Slots:
    """Counts the calls that run, in all and by peer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_peer: Counter[NodeId] = Counter()
        self._total = 0
        self._strangers = 0

    def __len__(self) -> int:
        return self._total

    @property
    def peers(self) -> int:
        """Peers that have calls now: no other is remembered."""
        return len(self._by_peer)

    def take(self, node_id: NodeId, *, stranger: bool = False) -> None:
        """Count a call of that peer, to `release` later. Raises RpcError when too many run."""
        if self._total >= self._limits.max_calls or (
            stranger and self._strangers >= self._limits.max_strangers_calls
        ):
            raise rpc_error(
                Status.RESOURCE_EXHAUSTED,
                f"this node runs {self._total} calls already; try again later",
            )
        if self._by_peer[node_id] >= self._limits.max_calls_per_peer:
            raise rpc_error(
                Status.RESOURCE_EXHAUSTED,
                f"{self._limits.max_calls_per_peer} calls of one node at once are the most here; "
                "wait for some to end",
            )
        self._total += 1
        self._strangers += stranger
        self._by_peer[node_id] += 1

    def release(self, node_id: NodeId, *, stranger: bool = False) -> None:
        """A call of that peer has ended; `stranger` as when it was taken."""
        self._total -= 1
        self._strangers -= stranger
        self._by_peer[node_id] -= 1
        if not self._by_peer[node_id]:
            del self._by_peer[node_id]


class PublicRates:
    """How often each peer may call public services."""

    def __init__(self, limits: Limits) -> None:
        self._rate = limits.public_rate
        self._rates: Rates[NodeId] = Rates(limits.public_rate, limits.public_burst)

    def take(self, node_id: NodeId, now: float) -> None:
        """Count a call of that peer at `now`. Raises RpcError, which says when to try again."""
        wait = self._rates.take(node_id, now)
        if wait:
            wait = math.ceil(wait * 1000) / 1000
            raise rpc_error(
                Status.RESOURCE_EXHAUSTED,
                f"more than {self._rate:g} calls a second; try again in {wait:.3f} s",
            )
