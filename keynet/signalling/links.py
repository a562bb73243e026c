"""All links of a node over its one endpoint: datagrams in and out, timers, events to their owner.

A thin asyncio shell: what a link does is in `link.py`. STUN that comes to the socket is handed
in by whoever reads the endpoint.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from keynet.address import NodeId, SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.errors import ConnectError
from keynet.identity import Identity
from keynet.identity.agreement import ping_key
from keynet.rates import Rates
from keynet.signalling.candidate import Candidate
from keynet.signalling.link import Link
from keynet.signalling.link_events import LinkEvent, LinkLost
from keynet.signalling.path_state import PathState
from keynet.signalling.puncher import Puncher, PunchSettings
from keynet.signalling.settings import LinkSettings
from keynet.stun.binding import Ping, Pong, Question, Reflection, is_request, pong, read
from keynet.udp.api import Endpoint, Sent
from keynet.udp.path import Path

MAX_LINKS = 8192
"""More than a host has connections: a link may be punched before, and be held without."""
_TAG = 4
"""Bytes of a transaction id that say whose it is; the others are random."""
RETIRED_RATE, RETIRED_BURST = 5.0, 20.0
"""Pings of one address to ids that are no more, that are answered: a second, and at once."""
RETIRED_KEYS = 1024
"""Ping keys of ids that are no more, kept: an agreement costs a tenth of a millisecond."""
PROBE_RATE, PROBE_BURST = 10.0, 80.0
"""Pings, of all links together, to one IP address that has not answered: a second, and at once.
Peers name the addresses, and may name somebody else's."""

Owner = Callable[[Link, LinkEvent], None]
"""Is told what happens to a link."""

Reflected = Callable[[Reflection, SocketAddress, float], None]
"""Is told of answers to this node's questions, and from where they came."""

Asked = Callable[[Question, Path, float], None]
"""Is told of strangers' questions, and over which path they came."""


class Links:
    """The links of one node, by the peers' current ids."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        owner: Owner,
        *,
        settings: LinkSettings | None = None,
        punching: PunchSettings | None = None,
    ) -> None:
        self.identity = identity
        """Assign a newer one after a rotation; a link that is there goes by it as soon as its peer
        does."""
        self.held: set[NodeId] = set()
        """Peers whose links are kept when no connection uses them."""
        self.counters: Counter[str] = Counter()
        """STUN that was dropped, and why."""
        self.reflected: Reflected | None = None
        self.asked: Asked | None = None
        """Answers strangers, where that is wanted; without it they hear nothing."""
        self._endpoint = endpoint
        self._owner = owner
        self._settings = settings or LinkSettings()
        self._punching = punching or PunchSettings()
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random()
        self._links: dict[NodeId, Link] = {}
        self._aliases: dict[NodeId, NodeId] = {}
        """From earlier ids of linked peers to the current ones."""
        self._by_tag: dict[bytes, Link] = {}
        self._tags: dict[Link, bytes] = {}
        self._timers: dict[Link, asyncio.TimerHandle] = {}
        self._retired: Rates[str] = Rates(RETIRED_RATE, RETIRED_BURST)
        self._retired_keys: dict[tuple[NodeId, NodeId], bytes] = {}
        self._probes: Rates[str] = Rates(PROBE_RATE, PROBE_BURST)
        self._waiting: dict[Link, set[asyncio.Future[None]]] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def __len__(self) -> int:
        return len(self._links)

    def get(self, node_id: NodeId) -> Link | None:
        """The link to a node, by its current id or one that it had under this link."""
        return self._links.get(self._aliases.get(node_id, node_id))

    def is_held(self, link: Link) -> bool:
        """Whether it is kept when no connection uses it."""
        return any(self.get(node_id) is link for node_id in self.held)

    def over(self, remote: SocketAddress) -> Link | None:
        """The link that has a validated path to that address."""
        for link in self._links.values():
            if any(state.path.remote == remote for state in link.paths):
                return link
        return None

    def to(self, node_id: NodeId) -> Link:
        """The link to a node, made when there is none. Raises KeyMismatch or ConnectError."""
        return self.get(node_id) or self._make(node_id)

    def renamed(self, old: NodeId, new: NodeId) -> None:
        """A peer has proved a newer id. Raises KeyMismatch for one that is no key's."""
        link = self._links.get(old)
        if link is None:
            return
        if new in self._links:
            self.drop(old)
        else:
            key = ping_key(self.identity.private_key, new)
            self._links[new] = self._links.pop(old)
            for alias in [one for one, current in self._aliases.items() if current == old]:
                self._aliases[alias] = new
            now = self._loop.time()
            link.rename(self.identity.node_id, new, key, now)
            self._after(link, now)
        self._aliases[old] = new

    def punch(
        self,
        node_id: NodeId,
        candidates: Iterable[Candidate],
        start_in: float = 0.0,
        settings: PunchSettings | None = None,
    ) -> Link:
        """Try a peer's addresses, from `start_in` seconds on. The owner hears what opens.

        Raises KeyMismatch or ConnectError.
        """
        link = self.to(node_id)
        now = self._loop.time()
        puncher = Puncher(
            candidates,
            now + start_in,
            settings=settings or self._punching,
            families=frozenset(6 if one.is_ipv6 else 4 for one in self._endpoint.addresses),
            loopback=self.loopback,
            rng=self._rng,
        )
        link.punch(puncher, now)
        self._after(link, now)
        return link

    def add_path(self, node_id: NodeId, path: Path, rtt: float | None = None) -> Link:
        """A handshake has proved that the peer is reached over `path`."""
        link = self.to(node_id)
        now = self._loop.time()
        link.add_path(path, now, rtt)
        self._after(link, now)
        return link

    def ask_now(self, node_id: NodeId) -> None:
        """Ping a peer without waiting for its time: whether it answers, and what it sees."""
        link = self.get(node_id)
        if link is not None:
            now = self._loop.time()
            link.ask_now(now)
            self._after(link, now)

    async def ping(self, node_id: NodeId) -> PathState | None:
        """Ping a peer now, and wait for its pong: the path, freshly measured.

        None when there is no path, or no longer one. Waits as long as the link lives; cancellable.
        """
        while (link := self.get(node_id)) is not None:
            state = link.in_use
            if state is None:
                return None
            before = state.pongs
            pong: asyncio.Future[None] = self._loop.create_future()
            self._waiting.setdefault(link, set()).add(pong)
            self.ask_now(node_id)
            try:
                await pong
            finally:
                self._waiting.get(link, set()).discard(pong)
            if state.pongs > before:
                return state
        return None

    def drop(self, node_id: NodeId) -> None:
        """Hold the link no more; its owner hears nothing further. Idempotent."""
        link = self._links.pop(self._aliases.get(node_id, node_id), None)
        if link is None:
            return
        for alias in [one for one, current in self._aliases.items() if current == link.peer]:
            del self._aliases[alias]
        link.close()
        self._tell_waiting(link)
        timer = self._timers.pop(link, None)
        if timer is not None:
            timer.cancel()
        del self._by_tag[self._tags.pop(link)]

    def close(self) -> None:
        """Drop every link. Idempotent."""
        for node_id in list(self._links):
            self.drop(node_id)

    @property
    def loopback(self) -> bool:
        """Whether this node is bound to loopback alone, and may probe there."""
        return all(one.host in ("127.0.0.1", "::1") for one in self._endpoint.addresses)

    def network_down(self, reason: str | None) -> None:
        """This node's own network is down (why), or up again (None)."""
        for link in self._links.values():
            link.network_down(reason)

    # What arrives

    def stun_received(self, datagram: Buffer, path: Path, now: float) -> None:
        """Take a datagram that is STUN by its structure. Never raises for what it says."""
        message = read(datagram)
        match message:
            case Ping():
                self._receive_ping(message, path, now)
            case Pong():
                link = self._by_tag.get(message.transaction_id[:_TAG])
                if link is None:
                    self.counters["pongs to nobody"] += 1
                else:
                    link.receive(message, path, now)
                    self._after(link, now)
                    self._tell_waiting(link)
            case Question() if self.asked is not None:
                self.asked(message, path, now)
            case Reflection() if self.reflected is not None:
                self.reflected(message, path.remote, now)
            case _:
                self.counters["STUN that means nothing here"] += 1

    def _receive_ping(self, message: Ping, path: Path, now: float) -> None:
        link = self._links.get(message.sender)
        if link is None:
            self.counters["pings of strangers"] += 1
        elif message.to == link.local:
            link.receive(message, path, now)
            self._after(link, now)
        else:
            self._answer_by_other_key(link, message, path, now)

    def _answer_by_other_key(self, link: Link, message: Ping, path: Path, now: float) -> None:
        """A linked peer pings an id that this node had, or a newer one than its link's."""
        rested = not self._retired.take(path.remote.host, now)
        key = self._key_for(message) if rested else None
        if key is not None and message.is_authentic(key):
            if message.to == self.identity.node_id:  # it knows of our rotation by now
                link.rename(message.to, link.peer, key, now)
                self._after(link, now)
            self._endpoint.send(Datagrams(pong(message, path.remote, key)), path)
        else:
            self.counters["pings to others"] += 1

    def _key_for(self, message: Ping) -> bytes | None:
        pair = message.to, message.sender
        if pair not in self._retired_keys:
            key = self._agreed(message)
            if key is None:
                return None
            if len(self._retired_keys) >= RETIRED_KEYS:
                self._retired_keys.clear()
            self._retired_keys[pair] = key
        return self._retired_keys[pair]

    def _agreed(self, message: Ping) -> bytes | None:
        for private in (self.identity.private_key, *self.identity.retired_keys):
            if private.public_key().public_bytes_raw() == message.to.public_key:
                return ping_key(private, message.sender)
        return None

    def _tell_waiting(self, link: Link) -> None:
        for waiter in self._waiting.pop(link, ()):
            if not waiter.done():
                waiter.set_result(None)

    # One link

    def _make(self, node_id: NodeId) -> Link:
        if len(self._links) >= MAX_LINKS:
            raise ConnectError(f"this node holds {MAX_LINKS} links already")
        tag = os.urandom(_TAG)
        while tag in self._by_tag:
            tag = os.urandom(_TAG)
        link = Link(
            self.identity.node_id,
            node_id,
            ping_key(self.identity.private_key, node_id),
            self._loop.time(),
            settings=self._settings,
            random=lambda size: tag + os.urandom(size - _TAG),
            rng=self._rng,
            ceiling=self._endpoint.mtu_ceiling,
        )
        self._links[node_id] = link
        self._by_tag[tag] = link
        self._tags[link] = tag
        return link

    def _after(self, link: Link, now: float) -> None:
        """Input is over: pass on its events, send what it has, arm its timer."""
        while (event := link.next_event()) is not None:
            if isinstance(event, LinkLost):
                self.drop(link.peer)
            self._owner(link, event)
        for path, datagram in link.datagrams_to_send(now):
            if is_request(datagram) and not self._may_ask(link, path, now):
                self.counters["pings held back"] += 1
                link.failed(path, "too many pings have gone to that address without an answer")
            elif self._endpoint.send(Datagrams(datagram), path) in (Sent.FAILED, Sent.TOO_BIG):
                link.failed(path, "the system has no way to send there")
        self._arm(link)

    def _may_ask(self, link: Link, path: Path, now: float) -> bool:
        """Whether to ping there: the peer has answered from that address, or not many wait to."""
        known = any(state.path.remote == path.remote for state in link.paths)
        return known or not self._probes.take(path.remote.host, now)

    def _arm(self, link: Link) -> None:
        timer = self._timers.pop(link, None)
        if timer is not None:
            timer.cancel()
        deadline = link.next_deadline()
        if deadline is not None and self._links.get(link.peer) is link:
            self._timers[link] = self._loop.call_at(deadline, self._on_timer, link)

    def _on_timer(self, link: Link) -> None:
        now = self._loop.time()
        link.handle_deadline(now)
        self._after(link, now)
