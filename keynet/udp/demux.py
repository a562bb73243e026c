"""Deciding whose a datagram is when every protocol of a node shares one socket. Pure.

First bytes collide (a uTP SYN and a QUIC short header, uTP data and WireGuard), so order decides:

1. the source is a TURN server in use, and the bytes are ChannelData or STUN: the relay's;
2. STUN by its structure: signalling's;
3. a known connection id: that connection's. Ids that this node chose (QUIC, WireGuard) are looked
   up wherever they come from; uTP's, which the dialer chose, mean nothing outside their source, so
   there the source's owner gets everything that is not another transport's first datagram (nor,
   where a transport has ids, its own: a peer that was restarted dials from the same source);
4. a transport that claims it as a connection's first datagram;
5. dropped and counted.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.stun import is_stun
from keynet.udp.split import may_hold_stun

OwnerT = TypeVar("OwnerT")
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

ConnectionId = Callable[[Buffer], Hashable | None]
"""Reads the id that this node chose out of a datagram; None when it can have none."""

LIMIT = 65536
"""Entries of each table, unless told otherwise."""

_ANY_BYTE = bytes(range(256))


class Claimant(Protocol):
    """What the demultiplexer needs of a transport.

    A transport whose connection ids are chosen by the receiving node also has a method
    `connection_id(datagram)`; one that knows which values the first byte of its datagrams can have
    tells them in an attribute `first_bytes` (bytes), which spares others' datagrams a closer look.
    """

    @property
    def name(self) -> str: ...

    def claims(self, datagram: Buffer) -> bool: ...


class Kind(enum.Enum):
    """Which rule decided."""

    RELAYED = "relayed"
    STUN = "stun"
    KNOWN = "known"
    FIRST = "first"


_KNOWN = Kind.KNOWN  # an enum's attribute costs on the hot path


class Drop(enum.Enum):
    """Why something was not taken."""

    EMPTY = "empty"
    UNCLAIMED = "unclaimed"
    TABLE_FULL = "table full"


class Routed(NamedTuple, Generic[OwnerT]):
    """A run of datagrams with one destiny."""

    kind: Kind
    datagrams: Datagrams
    owner: OwnerT | None = None
    """Whom a KNOWN or RELAYED run belongs to."""
    transport: Claimant | None = None
    """Which transport claims a FIRST one."""


class _Verdict(NamedTuple, Generic[OwnerT]):
    kind: Kind
    owner: OwnerT | None = None
    transport: Claimant | None = None


@dataclass(slots=True)
class _Rival:
    """A transport in the form in which it is asked."""

    transport: Claimant
    connection_id: ConnectionId | None
    first_bytes: bytes


class Demultiplexer(Generic[OwnerT]):
    """The tables, and the rules over them. Owners are whatever the caller binds."""

    def __init__(self, transports: Sequence[Claimant], *, limit: int = LIMIT) -> None:
        self.drops: Counter[Drop] = Counter()
        self._rivals = [
            _Rival(
                transport,
                getattr(transport, "connection_id", None),
                bytes(getattr(transport, "first_bytes", _ANY_BYTE)),
            )
            for transport in transports
        ]
        self._limit = limit
        self._relays: dict[SocketAddress, OwnerT] = {}
        self._sources: dict[SocketAddress, tuple[OwnerT, str, bytes]] = {}
        self._ids: dict[tuple[str, Hashable], OwnerT] = {}
        self._all_first_bytes = _first_bytes(self._rivals)
        self._contested = {
            one.transport.name: _first_bytes(
                [other for other in self._rivals if other is not one or one.connection_id]
            )
            for one in self._rivals
        }

    def bind_relay(self, server: SocketAddress, owner: OwnerT) -> bool:
        """A TURN server is in use; False (and counted) when the table is full."""
        return self._bind(self._relays, server, owner)

    def bind_source(self, source: SocketAddress, owner: OwnerT, transport: str) -> bool:
        """A connection of a transport without ids of our choosing talks to `source`."""
        contested = self._contested.get(transport, self._all_first_bytes)
        return self._bind(self._sources, source, (owner, transport, contested))

    def bind_id(self, transport: str, connection_id: Hashable, owner: OwnerT) -> bool:
        """This node chose a connection id, as the transport's `connection_id` reads it."""
        return self._bind(self._ids, (transport, connection_id), owner)

    def unbind_relay(self, server: SocketAddress) -> None:
        """Idempotent."""
        self._relays.pop(server, None)

    def unbind_source(self, source: SocketAddress) -> None:
        """Idempotent."""
        self._sources.pop(source, None)

    def unbind_id(self, transport: str, connection_id: Hashable) -> None:
        """Idempotent."""
        self._ids.pop((transport, connection_id), None)

    def source_owner(self, source: SocketAddress) -> OwnerT | None:
        """Whom `bind_source` named for `source`."""
        bound = self._sources.get(source)
        return bound[0] if bound else None

    def route(self, datagrams: Datagrams, source: SocketAddress) -> Sequence[Routed[OwnerT]]:
        """What becomes of a batch from `source`: runs in the order of arrival, drops left out.

        The runs share the batch's buffer. STUN messages are runs of one.
        """
        bound = self._sources.get(source)
        if bound is not None and datagrams.stride and source not in self._relays:
            owner, _, contested = bound
            if not may_hold_stun(datagrams) and not _begins_with(datagrams, contested):
                return (Routed(_KNOWN, datagrams, owner),)
        relay = self._relays.get(source)
        if relay is not None and _is_channel_run(datagrams):
            return (Routed(Kind.RELAYED, datagrams, relay),)
        return self._route_each(datagrams, source, relay)

    def _bind(self, table: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> bool:
        if key not in table and len(table) >= self._limit:
            self.drops[Drop.TABLE_FULL] += 1
            return False
        table[key] = value
        return True

    def _route_each(
        self, datagrams: Datagrams, source: SocketAddress, relay: OwnerT | None
    ) -> Sequence[Routed[OwnerT]]:
        """Judge one by one, and join neighbours of one destiny again."""
        routed: list[Routed[OwnerT]] = []
        view, stride = memoryview(datagrams.data), datagrams.stride
        if not len(view):
            self.drops[Drop.EMPTY] += 1
        start, current = 0, None
        for at in range(0, len(view), stride or 1):
            verdict = self._judge(view[at : at + stride], source, relay)
            if at and (verdict != current or current is None or current.kind is Kind.STUN):
                _add(routed, current, view[start:at], stride)
                start = at
            current = verdict
        _add(routed, current, view[start:], stride)
        return routed

    def _judge(
        self, datagram: Buffer, source: SocketAddress, relay: OwnerT | None
    ) -> _Verdict[OwnerT] | None:
        if relay is not None and (is_channel_data(datagram) or is_stun(datagram)):
            return _Verdict(Kind.RELAYED, relay)
        if is_stun(datagram):
            return _Verdict(Kind.STUN)
        if self._ids and (owner := self._owner_by_id(datagram)) is not None:
            return _Verdict(Kind.KNOWN, owner)
        bound = self._sources.get(source)
        for rival in self._rivals:
            own = bound is not None and rival.transport.name == bound[1]
            if own and rival.connection_id is None:
                continue
            if datagram[0] in rival.first_bytes and rival.transport.claims(datagram):
                return _Verdict(Kind.FIRST, None, rival.transport)
        if bound is not None:
            return _Verdict(Kind.KNOWN, bound[0])
        self.drops[Drop.UNCLAIMED] += 1
        return None

    def _owner_by_id(self, datagram: Buffer) -> OwnerT | None:
        for rival in self._rivals:
            if rival.connection_id is None or datagram[0] not in rival.first_bytes:
                continue
            connection_id = rival.connection_id(datagram)
            if connection_id is not None:
                owner = self._ids.get((rival.transport.name, connection_id))
                if owner is not None:
                    return owner
        return None


def _first_bytes(rivals: Sequence[_Rival]) -> bytes:
    return b"".join(rival.first_bytes for rival in rivals)


def _begins_with(datagrams: Datagrams, first_bytes: bytes) -> bool:
    """Whether any of the batch begins with one of `first_bytes`."""
    if not first_bytes:
        return False
    heads = bytes(datagrams.data[:: datagrams.stride or 1])
    return len(heads.translate(None, first_bytes)) < len(heads)


def is_channel_data(datagram: Buffer) -> bool:
    """Whether a datagram is TURN ChannelData by its structure (RFC 8656 section 12.4)."""
    if len(datagram) < 4 or not 0x40 <= datagram[0] <= 0x4F:
        return False
    length = datagram[2] << 8 | datagram[3]
    return 0 <= len(datagram) - 4 - length <= 3


def _is_channel_run(datagrams: Datagrams) -> bool:
    """Whether all of a batch is ChannelData of one channel and length (the last may be shorter)."""
    data, stride = datagrams.data, datagrams.stride
    count = len(data) // stride if stride else 0
    if count < 2 or not is_channel_data(data[:stride]):
        return False
    rest = data[count * stride :]
    if len(rest) and not is_channel_data(rest):
        return False
    whole = data[: count * stride]
    return all(bytes(whole[i::stride]).count(whole[i]) == count for i in range(4))


def _add(
    routed: list[Routed[OwnerT]], verdict: _Verdict[OwnerT] | None, data: memoryview, stride: int
) -> None:
    if verdict is not None:
        kind, owner, transport = verdict
        routed.append(Routed(kind, Datagrams(data, min(stride, len(data))), owner, transport))
