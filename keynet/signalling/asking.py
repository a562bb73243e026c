"""Asking a node, through seeds, to punch: find its registration, send an offer, check the answer.

Seeds are asked one after the other, each a little after the one before, so that one that stalls or
lies costs little time; the first good answer wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keynet.address import NodeId
from keynet.errors import ConnectError, KeynetError, LookupFailed, PunchFailed
from keynet.identity import Identity, PeerIdentity
from keynet.signalling.candidate import Candidate
from keynet.signalling.messages import (
    SESSION_BYTES,
    Answer,
    open_answer,
    read_registration,
    seal_offer,
)

STAGGER = 0.25
"""Seconds after which the next seed is asked as well (RFC 8305 section 5 does so for addresses)."""


class SeedChannel(Protocol):
    """A way to one seed. Every method raises a KeynetError when it fails; all are cancellable."""

    @property
    def seed(self) -> NodeId: ...

    async def find(self, node_id: NodeId) -> bytes:
        """The registration of a node. Raises LookupFailed when the seed does not know it."""

    async def offer(self, to: NodeId, sealed: bytes) -> bytes:
        """Have a sealed offer delivered; returns the sealed answer."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """The other node punches towards this one from this moment on."""

    answer: Answer
    seed: NodeId
    """Which seed carried it."""


class Asking:
    """Makes offers for one node."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        candidates_for: Callable[[PeerIdentity], Sequence[Candidate]],
        transports: Sequence[str],
    ) -> None:
        """`candidates_for` says what a peer is told of this node's addresses."""
        self._random = random
        self._candidates_for = candidates_for
        self._transports = tuple(transports)

    async def ask(
        self, identity: Identity, node_id: NodeId, seeds: Sequence[SeedChannel]
    ) -> Agreed:
        """Have the node `node_id` punch towards this one. Cancellable; its time is the caller's.

        Raises LookupFailed when no seed knows it, PunchFailed when it refuses or no offer got
        through: the message names each seed with its reason.
        """
        failures: dict[NodeId, KeynetError] = {}
        waiting = list(seeds)
        running: dict[asyncio.Task[Agreed], NodeId] = {}
        try:
            while waiting or running:
                if waiting:
                    channel = waiting.pop(0)
                    task = asyncio.ensure_future(self._ask_one(identity, node_id, channel))
                    running[task] = channel.seed
                agreed = await self._first(running, failures, STAGGER if waiting else None)
                if agreed is not None:
                    return agreed
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        raise _failure(node_id, failures)

    async def _first(
        self,
        running: dict[asyncio.Task[Agreed], NodeId],
        failures: dict[NodeId, KeynetError],
        patience: float | None,
    ) -> Agreed | None:
        """The first good answer; None when one seed failed, or patience ran out."""
        done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            seed = running.pop(task)
            try:
                return task.result()
            except KeynetError as error:
                failures[seed] = error
        return None

    async def _ask_one(self, identity: Identity, node_id: NodeId, channel: SeedChannel) -> Agreed:
        registration = read_registration(await channel.find(node_id), node_id)
        session = self._random(SESSION_BYTES)
        candidates = self._candidates_for(registration.peer)
        sealed = seal_offer(identity, registration, session, candidates, self._transports)
        reply = await channel.offer(registration.peer.node_id, sealed)
        answer = open_answer(reply, identity, session, node_id)
        if answer.refusal is not None:
            raise ConnectError(f"the node refuses: {answer.refusal}")
        return Agreed(answer, channel.seed)


def _failure(node_id: NodeId, failures: dict[NodeId, KeynetError]) -> KeynetError:
    if not failures:
        return LookupFailed(f"no seed can be asked for {node_id}")
    if all(isinstance(error, LookupFailed) for error in failures.values()):
        asked = "none of the seeds knows" if len(failures) > 1 else "the seed does not know"
        return LookupFailed(f"{asked} {node_id}: is it running, with the same --seed?")
    reasons = "; ".join(f"seed {seed.short}: {error}" for seed, error in failures.items())
    return PunchFailed(f"{node_id.short} could not be asked to punch: {reasons}")
