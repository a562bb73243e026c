"""Ping transactions to one peer: made, sent again, matched with their pongs, given up. Sans-IO.

A **probe** is one question about one path; it is asked with several pings, each with a transaction
id of its own, so that a pong tells its round trip exactly. Which paths are asked when, and what an
answer means, is the link's and the puncher's affair.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from keynet.address import NodeId, SocketAddress
from keynet.rates import Rates
from keynet.stun.binding import TRANSACTION_ID_BYTES, Ping, Pong, ping, pong
from keynet.udp.path import Path

MAX_PROBES = 128
"""Under way to one peer; further ones are refused until some have ended."""
ROOM_FOR_STRANGERS = MAX_PROBES // 2
"""Of these, what addresses may take that nothing but pings has come from: whoever replays a ping
from many addresses must not keep the link from asking about its own paths."""

RETRANSMISSIONS = (0.5, 1.0, 2.0)
"""Seconds between the pings of a probe, and then after the last one."""
PUNCH = (2.0,)
"""One ping, which is waited for so long: the puncher sends the next ones itself."""
ASK_BACK = (0.3, 0.9)
"""Pings towards an address that a ping has come from: with the pong, at most three times its
bytes."""

PONG_RATE, PONG_BURST = 20.0, 40.0
"""Pings of one source that are answered: a second, and at once."""
NOMINATIONS = 64
"""The latest nominations, which count once: about five minutes of them."""


@dataclass(slots=True, eq=False)
class Probe:
    """One question: does this path carry datagrams of this size, there and back?"""

    path: Path
    pauses: tuple[float, ...]
    """Seconds after each ping until the next; after the last one until it is given up."""
    size: int = 0
    """Bytes of the padded ping; 0 for the smallest."""
    nominate: bool = False
    started_at: float = 0.0
    sent: int = 0
    """Pings so far."""
    due_at: float | None = None
    """When the next ping, or giving up, is due; None once it has ended."""
    _ids: dict[bytes, float] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        """Whether a pong is overdue."""
        return self.sent > 1


@dataclass(frozen=True, slots=True)
class Answered:
    """A pong matched its probe, which has ended."""

    probe: Probe
    rtt: float
    """Seconds from the ping that was answered."""
    mapped: SocketAddress
    """This node's address on that path, as the peer sees it."""


class Pings:
    """The probes under way to one peer."""

    def __init__(
        self, local: NodeId, peer: NodeId, key: bytes, random: Callable[[int], bytes]
    ) -> None:
        """`key` is the two nodes' ping key; `random` gives so many unpredictable bytes."""
        self.local = local
        self.peer = peer
        self._key = key
        self._random = random
        self._probes: dict[Probe, None] = {}
        self._by_id: dict[bytes, Probe] = {}

    def __len__(self) -> int:
        return len(self._probes)

    @property
    def has_room_for_strangers(self) -> bool:
        """Whether an address may be asked about because a ping came from it."""
        return len(self._probes) < ROOM_FOR_STRANGERS

    def start(
        self,
        path: Path,
        now: float,
        *,
        pauses: tuple[float, ...] = RETRANSMISSIONS,
        size: int = 0,
        nominate: bool = False,
    ) -> Probe | None:
        """Ask about `path`; its first ping is due now. None when too many are under way."""
        if len(self._probes) >= MAX_PROBES:
            return None
        probe = Probe(path, pauses, size, nominate, started_at=now, due_at=now)
        self._probes[probe] = None
        return probe

    def rename(self, local: NodeId, peer: NodeId, key: bytes) -> None:
        """Ask in other names from now on, also what is being asked already."""
        self.local, self.peer, self._key = local, peer, key

    def is_asking(self, remote: SocketAddress) -> bool:
        """Whether a probe towards that address is under way."""
        return any(probe.path.remote == remote for probe in self._probes)

    def end(self, probe: Probe) -> None:
        """Ask no more; late pongs are not matched. Idempotent."""
        probe.due_at = None
        self._probes.pop(probe, None)
        for transaction_id in probe._ids:
            self._by_id.pop(transaction_id, None)

    def clear(self) -> None:
        """End every probe."""
        for probe in list(self._probes):
            self.end(probe)

    def match(self, pong: Pong, source: SocketAddress, now: float) -> Answered | None:
        """The probe that an authentic pong from `source` answers, if there is one; it has ended.

        A pong must come from where its ping went (RFC 8445 section 7.2.5.2.1).
        """
        probe = self._by_id.get(pong.transaction_id)
        if probe is None or probe.path.remote != source or not pong.is_authentic(self._key):
            return None
        rtt = max(0.0, now - probe._ids[pong.transaction_id])
        self.end(probe)
        return Answered(probe, rtt, pong.mapped)

    def next_deadline(self) -> float | None:
        """When `due` will give something."""
        return min((p.due_at for p in self._probes if p.due_at is not None), default=None)

    def due(self, now: float) -> tuple[list[tuple[Probe, bytes]], list[Probe]]:
        """The pings to send now, with their probes, and the probes that nobody has answered."""
        to_send: list[tuple[Probe, bytes]] = []
        given_up: list[Probe] = []
        for probe in list(self._probes):
            if probe.due_at is None or probe.due_at > now:
                continue
            if probe.sent >= len(probe.pauses):
                self.end(probe)
                given_up.append(probe)
            else:
                to_send.append((probe, self._ping(probe, now)))
        return to_send, given_up

    def _ping(self, probe: Probe, now: float) -> bytes:
        transaction_id = self._random(TRANSACTION_ID_BYTES)
        probe._ids[transaction_id] = now
        self._by_id[transaction_id] = probe
        probe.due_at = now + probe.pauses[probe.sent]
        probe.sent += 1
        return ping(
            transaction_id,
            self.peer,
            self.local,
            self._key,
            nominate=probe.nominate,
            size=probe.size,
        )


class Pongs:
    """Answers one peer's pings, as often as an honest peer has need of."""

    def __init__(self, key: bytes) -> None:
        self.rename(key)
        self._rates: Rates[SocketAddress] = Rates(PONG_RATE, PONG_BURST, most=64)
        self._nominations: deque[bytes] = deque(maxlen=NOMINATIONS)

    def rename(self, key: bytes) -> None:
        """Answer what is authentic by another key from now on."""
        self._key = key

    def answer(
        self, message: Ping, source: SocketAddress, now: float, counters: Counter[str]
    ) -> bytes | None:
        """The pong for a ping from `source`; None, and counted, for one that deserves none."""
        if not message.is_authentic(self._key):
            counters["forged pings"] += 1
            return None
        if self._rates.take(source, now):
            counters["pings above the rate"] += 1
            return None
        return pong(message, source, self._key)

    def nominates(self, message: Ping) -> bool:
        """Whether an authentic ping chooses its path, and is not a recent one over again."""
        if not message.nominated or message.transaction_id in self._nominations:
            return False
        self._nominations.append(message.transaction_id)
        return True
