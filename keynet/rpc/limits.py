"""What peers' calls may take of a node: how many at once, how often, how large, how long. Pure."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass

from keynet.address import NodeId
from keynet.errors import ConfigError
from keynet.rpc.api import MAX_MESSAGE_SIZE, UNARY_TIMEOUT
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error

MAX_BUCKETS = 4096
"""Peers whose rate is remembered, the latest ones: about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one node takes on for its peers."""

    max_message_size: int = MAX_MESSAGE_SIZE
    """Bytes of one encoded request, item or result."""
    max_calls: int = 1024
    """Calls that run at the same time."""
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
        for name in ("max_message_size", "max_calls", "max_calls_per_peer", "public_burst"):
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

    def __len__(self) -> int:
        return self._total

    @property
    def peers(self) -> int:
        """Peers that have calls now: no other is remembered."""
        return len(self._by_peer)

    def take(self, node_id: NodeId) -> None:
        """Count a call of that peer, to `release` later. Raises RpcError when too many run."""
        if self._total >= self._limits.max_calls:
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
        self._by_peer[node_id] += 1

    def release(self, node_id: NodeId) -> None:
        """A call of that peer has ended."""
        self._total -= 1
        self._by_peer[node_id] -= 1
        if not self._by_peer[node_id]:
            del self._by_peer[node_id]


class Rates:
    """A token bucket for each peer that calls public services.

    When there are too many peers, the one that has called nothing for longest is forgotten, and
    then has a full bucket again: no more than a new node id would get.
    """

    def __init__(self, limits: Limits, most: int = MAX_BUCKETS) -> None:
        self._limits = limits
        self._most = most
        self._buckets: OrderedDict[NodeId, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, node_id: NodeId, now: float) -> None:
        """Count a call of that peer at `now`. Raises RpcError, which says when to try again."""
        rate, burst = self._limits.public_rate, float(self._limits.public_burst)
        tokens, before = self._buckets.get(node_id, (burst, now))
        tokens = min(burst, tokens + (now - before) * rate)
        short = tokens < 1.0
        self._buckets[node_id] = (tokens if short else tokens - 1.0, now)
        self._buckets.move_to_end(node_id)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if short:
            wait = math.ceil((1.0 - tokens) / rate * 1000) / 1000
            raise rpc_error(
                Status.RESOURCE_EXHAUSTED,
                f"more than {rate:g} calls a second; try again in {wait:.3f} s",
            )
