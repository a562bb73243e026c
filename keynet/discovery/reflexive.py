"""What this node looks like from outside: STUN Binding questions to several servers. Sans-IO.

The questions go out of the data socket, since it is that socket's mapping which matters. When two
servers see the same address, the NAT maps independently of the destination and can be punched;
when they see different ones, it does not (RFC 4787 section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from keynet.address import SocketAddress
from keynet.stun.binding import TRANSACTION_ID_BYTES, Reflection, question

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds after each question until the next, and then until the server is given up
(RFC 8489 section 6.2.1, cut short: another server may know)."""
MAX_SERVERS = 16


class Mapping(Enum):
    """How this node's NAT maps, as far as was seen."""

    UNKNOWN = "unknown"
    """Fewer than two servers of one family have answered."""
    NONE = "no NAT"
    """The servers see an address of this machine's own."""
    INDEPENDENT = "endpoint-independent"
    DEPENDENT = "depends on the destination"
    """On what of it, the servers at hand cannot tell."""
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address and port-dependent"

    @property
    def is_dependent(self) -> bool:
        """Whether each peer sees another address: a hole cannot be announced beforehand."""
        return self in (Mapping.DEPENDENT, Mapping.ADDRESS, Mapping.ADDRESS_AND_PORT)


@dataclass(slots=True)
class _Asked:
    sent: int = 0
    due_at: float | None = 0.0
    ids: tuple[bytes, ...] = ()


class Reflexive:
    """Asks servers, and keeps what they last said."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """`random` gives so many unpredictable bytes."""
        self._random = random
        self._asked: dict[SocketAddress, _Asked] = {}
        self._seen: dict[SocketAddress, SocketAddress] = {}

    @property
    def seen(self) -> dict[SocketAddress, SocketAddress]:
        """By server, this node's address as that saw it last."""
        return dict(self._seen)

    @property
    def asking(self) -> bool:
        """Whether an answer may still come."""
        return any(one.due_at is not None for one in self._asked.values())

    def ask(self, servers: Iterable[SocketAddress], now: float) -> None:
        """Ask these servers, anew; what others said is forgotten."""
        wanted = list(dict.fromkeys(servers))[:MAX_SERVERS]
        self._asked = {server: _Asked(due_at=now) for server in wanted}
        self._seen = {server: seen for server, seen in self._seen.items() if server in wanted}

    def received(self, answer: Reflection, source: SocketAddress, now: float) -> bool:
        """Take an answer; False when nobody asked for it."""
        asked = self._asked.get(source)
        if asked is None or answer.transaction_id not in asked.ids:
            return False
        asked.due_at, asked.ids = None, ()
        self._seen[source] = answer.mapped
        return True

    def next_deadline(self) -> float | None:
        """When `questions` will give something, or give somebody up."""
        return min((o.due_at for o in self._asked.values() if o.due_at is not None), default=None)

    def questions(self, now: float) -> list[tuple[SocketAddress, bytes]]:
        """What is to be sent now, and where to."""
        out = []
        for server, asked in self._asked.items():
            if asked.due_at is None or asked.due_at > now:
                continue
            if asked.sent >= len(PAUSES):
                asked.due_at, asked.ids = None, ()
                self._seen.pop(server, None)
                continue
            transaction_id = self._random(TRANSACTION_ID_BYTES)
            asked.ids += (transaction_id,)
            asked.due_at = now + PAUSES[asked.sent]
            asked.sent += 1
            out.append((server, question(transaction_id)))
        return out

    def mapping(self, own: Iterable[SocketAddress], *, ipv6: bool = False) -> Mapping:
        """How the NAT maps; `own` are the interfaces' addresses."""
        return mapping_of((one for one in self._seen.values() if one.is_ipv6 is ipv6), own)


def mapping_of(seen: Iterable[SocketAddress], own: Iterable[SocketAddress]) -> Mapping:
    """How a NAT maps, from what servers of one family saw, one address each."""
    seen = list(seen)
    if not set(own).isdisjoint(seen):
        return Mapping.NONE
    if len(seen) < 2:
        return Mapping.UNKNOWN
    return Mapping.INDEPENDENT if len(set(seen)) == 1 else Mapping.DEPENDENT
