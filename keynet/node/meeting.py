"""Ways to peers: asked for through seeds, punched, held, and explained when there is none.

What an offer is and who carries it is `keynet.signalling`'s and `seeding.py`'s; what a path is used
for, the host's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keynet.address import NodeId, SocketAddress
from keynet.discovery.interfaces import host_addresses
from keynet.errors import KeynetError, LocallyClosed, LookupFailed, PunchFailed
from keynet.identity import Identity, PeerIdentity
from keynet.signalling.answering import Answering
from keynet.signalling.asking import Asking, SeedChannel
from keynet.signalling.candidate import Candidate, CandidateKind, best, candidate, for_peer
from keynet.signalling.link import Link
from keynet.signalling.link_events import (
    LinkEvent,
    LinkLost,
    PathSelected,
    PunchEnded,
    PunchWanted,
)
from keynet.signalling.links import Links
from keynet.signalling.messages import Offer
from keynet.signalling.puncher import Outcome, PunchSettings
from keynet.udp.path import Path

REMEMBERED = 256
"""Peers whose latest attempt is kept for `why`."""

ONE_PING = PunchSettings(pauses=(4.0,), attempts=1)
"""For addresses that are tried again and again anyway."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The latest try to open a path to a peer: what `keynet why` tells."""

    at: float
    """Monotonic seconds."""
    result: str
    """One line for people."""
    outcomes: tuple[Outcome, ...] = ()
    """Every address that was tried, or could not be."""
    unknown: bool = False
    """No seed knows the peer."""


class Meeting:
    """Opens paths for one node. Close it with `aclose`."""

    def __init__(
        self,
        links: Links,
        identity: Callable[[], Identity],
        addresses: Sequence[SocketAddress],
        seeds: Callable[[], Sequence[SeedChannel]],
        observed: Callable[[], Sequence[SocketAddress]],
        *,
        trusts: Callable[[PeerIdentity], bool],
        admits: Callable[[PeerIdentity], str | None],
        transports: Sequence[str],
    ) -> None:
        """`addresses` are the sockets' own, `observed` what seeds see of them now. `trusts` says
        who is told of private addresses, `admits` why a peer is not punched towards."""
        self._links = links
        self._identity = identity
        self._addresses = tuple(addresses)
        self._seeds = seeds
        self._observed = observed
        self._trusts = trusts
        self._asking = Asking(os.urandom, self._for_peer, transports)
        self.answering = Answering(os.urandom, admits, self._for_offer, transports, trusts=trusts)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[NodeId, set[asyncio.Future[Path]]] = {}
        self._attempts: OrderedDict[NodeId, Attempt] = OrderedDict()
        self._again: dict[NodeId, asyncio.Task[None]] = {}

    # Opening

    async def open_path(self, node_id: NodeId) -> Path:
        """A validated path to a node, punched now if there is none. Cancellable: the punching
        goes on for a while, so that the next one finds it done.

        Raises LookupFailed (no seed knows it), PunchFailed with what was tried, IdentityError.
        """
        link = self._links.get(node_id)
        if link is not None and link.path is not None:
            return link.path
        try:
            return await self._punched(node_id)
        except KeynetError as error:
            self._remember(node_id, str(error), unknown=isinstance(error, LookupFailed))
            raise

    async def _punched(self, node_id: NodeId) -> Path:
        agreed = await self._asking.ask(self._identity(), node_id, self._seeds())
        peer = agreed.answer.peer.node_id
        link = self._links.punch(peer, agreed.answer.candidates)
        if link.path is not None:
            return link.path
        waiter: asyncio.Future[Path] = self._loop.create_future()
        self._waiting.setdefault(peer, set()).add(waiter)
        try:
            return await waiter
        finally:
            waiters = self._waiting.get(peer, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(peer, None)

    def punch(self, node_id: NodeId, addresses: Sequence[SocketAddress]) -> None:
        """Try addresses that somebody configured, without a word through a seed; not while what
        the peer itself has told is being tried. Raises KeyMismatch or ConnectError.
        """
        link = self._links.get(node_id)
        if link is not None and link.is_punching:
            return
        statics = [candidate(CandidateKind.STATIC, one, n) for n, one in enumerate(addresses)]
        self._links.punch(node_id, statics, settings=ONE_PING)

    def answer(self, sealed: bytes, wait: float) -> bytes:
        """Answer an offer, and begin to punch. Raises RemoteProtocolError or IdentityError."""
        sealed_answer, request = self.answering.answer(
            self._identity(), sealed, wait, self._loop.time()
        )
        if request is not None:
            offer = request.offer
            self._links.punch(offer.peer.node_id, offer.candidates, request.wait)
        return sealed_answer

    def why(self, node_id: NodeId) -> Attempt | None:
        """The attempt to reach a node that is under way, or the latest; None without any."""
        link = self._links.get(node_id)
        puncher = link.puncher if link is not None else None
        if puncher is not None and not puncher.finished:
            return Attempt(self._loop.time(), puncher.why(), tuple(puncher.outcomes))
        return self._attempts.get(node_id)

    def candidates(self) -> tuple[Candidate, ...]:
        """Everywhere this node can be reached, as far as is known now."""
        hosts = host_addresses(self._addresses)
        seen = [one for one in dict.fromkeys(self._observed()) if one not in hosts]
        return best(
            [candidate(CandidateKind.HOST, one, n) for n, one in enumerate(hosts)]
            + [candidate(CandidateKind.REFLEXIVE, one, n) for n, one in enumerate(seen)]
        )

    async def aclose(self) -> None:
        """Stop, and tell whoever waits. Idempotent."""
        for task in self._again.values():
            task.cancel()
        await asyncio.gather(*self._again.values(), return_exceptions=True)
        for peer in list(self._waiting):
            self._fail(peer, LocallyClosed("the node is closing"))

    # What links tell

    def told(self, link: Link, event: LinkEvent) -> None:
        """Hear of a link's events, whosever they are."""
        match event:
            case PathSelected(path):
                for waiter in self._waiting.pop(link.peer, ()):
                    if not waiter.done():
                        waiter.set_result(path)
            case PunchEnded(opened, reason):
                outcomes = tuple(link.puncher.outcomes) if link.puncher is not None else ()
                self._remember(link.peer, reason, outcomes)
                if not opened:
                    self._fail(link.peer, PunchFailed(f"{link.peer.short}: {reason}"))
            case PunchWanted():
                self.punch_again(link.peer)
            case LinkLost(reason):
                self._fail(link.peer, PunchFailed(reason))

    def _fail(self, peer: NodeId, error: KeynetError) -> None:
        for waiter in self._waiting.pop(peer, ()):
            if not waiter.done():
                waiter.set_exception(error)

    def punch_again(self, peer: NodeId) -> None:
        """Ask a linked peer, through seeds, to punch once more; in the background."""
        if peer not in self._again and self._seeds():
            task = asyncio.create_task(self._ask_again(peer), name=f"punch {peer.short} again")
            self._again[peer] = task
            task.add_done_callback(lambda _: self._again.pop(peer, None))

    async def _ask_again(self, peer: NodeId) -> None:
        try:
            agreed = await self._asking.ask(self._identity(), peer, self._seeds())
            self._links.punch(agreed.answer.peer.node_id, agreed.answer.candidates)
        except KeynetError as error:
            log.info("%s cannot be asked to punch again: %s", peer.short, error)

    # What peers are told

    def _for_peer(self, peer: PeerIdentity) -> Sequence[Candidate]:
        return for_peer(self.candidates(), self._observed(), friend=self._trusts(peer))

    def _for_offer(self, offer: Offer) -> Sequence[Candidate]:
        """A peer that comes from our own public address is in our network."""
        seen = self._observed()
        theirs = {
            one.address.host for one in offer.candidates if one.kind is CandidateKind.REFLEXIVE
        }
        neighbour = any(one.host in theirs for one in seen)
        return for_peer(self.candidates(), seen, friend=neighbour or self._trusts(offer.peer))

    def _remember(
        self,
        node_id: NodeId,
        result: str,
        outcomes: tuple[Outcome, ...] = (),
        *,
        unknown: bool = False,
    ) -> None:
        before = self._attempts.pop(node_id, None)
        if not outcomes and before is not None:
            outcomes = before.outcomes
        self._attempts[node_id] = Attempt(self._loop.time(), result, outcomes, unknown)
        if len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)
