"""Staying registered at one seed, through its restarts and this node's own changes.

One task for each seed. How the seed is reached is the injected channel's affair.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from keynet.address import NodeId, SocketAddress
from keynet.errors import KeynetError
from keynet.signalling.seed import Registered

RENEWALS = 3
"""How often a registration is renewed in its lifetime."""
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds after a failure; doubling, give or take a fifth."""
SHORTEST_RENEWAL, LONGEST_RENEWAL = 1.0, 40.0
"""Seconds, whatever a seed says of lifetimes: a nonce is good for not much longer."""
REQUEST_TIMEOUT = 10.0
"""Seconds that a seed has to answer."""

log = logging.getLogger(__name__)


class Registrar(Protocol):
    """A way to one seed, for registering."""

    @property
    def seed(self) -> NodeId: ...

    async def register(self, blob: bytes) -> Registered:
        """Register, or renew. Raises a KeynetError."""

    async def unregister(self) -> None:
        """Be forgotten. Raises a KeynetError."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What is known of one seed now."""

    seed: NodeId
    registered: bool
    observed: SocketAddress | None = None
    """This node's address as the seed saw it last."""
    error: str | None = None
    """Why it is not registered, in one line."""


class Member:
    """Keeps one registration alive until it is closed."""

    def __init__(
        self,
        registrar: Registrar,
        registration: Callable[[], bytes],
        changed: Callable[[Membership], None],
    ) -> None:
        """`registration` signs the node's registration anew; `changed` hears of each change."""
        self.membership = Membership(registrar.seed, registered=False)
        self._registrar = registrar
        self._registration = registration
        self._changed = changed
        self._renew_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call `aclose` in the end."""
        self._task = asyncio.create_task(self._stay(), name="stay registered")

    def renew(self) -> None:
        """Register again at once: the identity, the addresses or the connection changed."""
        self._renew_now.set()

    async def aclose(self) -> None:
        """Unregister, as far as the seed answers soon, and stop. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self.membership.registered:
            await self._in_time(self._registrar.unregister(), 1.0)
            self._tell(Membership(self._registrar.seed, registered=False))

    async def _stay(self) -> None:
        retry = FIRST_RETRY
        while True:
            self._renew_now.clear()
            answer = await self._in_time(self._register(), REQUEST_TIMEOUT)
            if answer is None:
                pause = retry * random.uniform(0.8, 1.2)
                retry = min(LAST_RETRY, retry * 2)
            else:
                pause = min(LONGEST_RENEWAL, max(SHORTEST_RENEWAL, answer.lifetime / RENEWALS))
                pause *= random.uniform(0.8, 1.0)
                retry = FIRST_RETRY
            try:
                async with asyncio.timeout(pause):
                    await self._renew_now.wait()
            except TimeoutError:
                continue

    async def _register(self) -> Registered:
        answer = await self._registrar.register(self._registration())
        self._tell(Membership(self._registrar.seed, registered=True, observed=answer.observed))
        return answer

    async def _in_time(
        self, request: Awaitable[Registered | None], limit: float
    ) -> Registered | None:
        try:
            async with asyncio.timeout(limit):
                return await request
        except TimeoutError:
            self._failed(f"no answer within {limit:g} s")
        except KeynetError as error:
            self._failed(str(error))
        return None

    def _failed(self, reason: str) -> None:
        self._tell(Membership(self._registrar.seed, registered=False, error=reason))

    def _tell(self, membership: Membership) -> None:
        before, self.membership = self.membership, membership
        if membership != before:
            if membership.error is not None:
                log.info("seed %s: %s", membership.seed.short, membership.error)
            self._changed(membership)
