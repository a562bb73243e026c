"""Signalling over RPC: what seeds and members serve to each other, and how they call it.

What the functions do is `keynet.signalling`'s, which knows no RPC; here they become methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from keynet.address import NodeId, SocketAddress
from keynet.errors import (
    ConfigError,
    DeadlineExceeded,
    IdentityError,
    KeynetError,
    LookupFailed,
    ProtocolError,
    RemoteProtocolError,
    RpcError,
)
from keynet.rates import Rates
from keynet.rpc.api import Call
from keynet.rpc.client import Client
from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error
from keynet.signalling.seed import Registered, Seed

T = TypeVar("T")

DELIVERY_TIMEOUT = 8.0
"""Seconds that a member has to answer an offer."""
CARRIER_RATE, CARRIER_BURST = 20.0, 100.0
"""Offers that one peer may bring, whoever made them: a second, and at once. To unseal one costs
about a millisecond."""

_STATUS: tuple[tuple[type[KeynetError], Status], ...] = (
    (LookupFailed, Status.NOT_FOUND),
    (IdentityError, Status.PERMISSION_DENIED),
    (ProtocolError, Status.INVALID_ARGUMENT),
    (ConfigError, Status.INVALID_ARGUMENT),
    (DeadlineExceeded, Status.DEADLINE_EXCEEDED),
)

Answer = Callable[[bytes, float], bytes]
"""Takes a sealed offer and the seconds of advice that came with it; gives the sealed answer."""


class Welcome(msgspec.Struct, frozen=True):
    """What a seed tells a member that has registered."""

    lifetime: float
    """Seconds that the registration is kept."""
    observed: str
    """Where the member's datagrams come from, as HOST:PORT."""


def seed_service(seed: Seed, remote_of: Callable[[NodeId], SocketAddress | None]) -> Service:
    """The methods of a seed, for every authenticated peer; `remote_of` tells where one is."""
    service = Service("seed", public=True)
    now = asyncio.get_running_loop().time

    @service.method
    async def register(registration: bytes, call: Call) -> Welcome:
        """Be found here for a while, by a registration that the caller has signed."""
        observed = remote_of(call.peer.node_id)
        if observed is None:
            raise rpc_error(Status.FAILED_PRECONDITION, "register over the data socket")
        with _Statuses():
            answer = seed.register(call.peer, registration, observed, now())
        return Welcome(answer.lifetime, str(answer.observed))

    @service.method
    async def unregister(call: Call) -> None:
        """Be forgotten."""
        with _Statuses():
            seed.unregister(call.peer, now())

    @service.method
    async def find(node_id: str, call: Call) -> bytes:
        """The registration of a node, signed by itself."""
        with _Statuses():
            return seed.find(call.peer, NodeId.parse(node_id), now())

    @service.method
    async def offer(to: str, sealed: bytes, call: Call) -> bytes:
        """Have an offer, sealed to a registered node, delivered; gives its sealed answer."""
        with _Statuses():
            return await seed.offer(call.peer, NodeId.parse(to), sealed, now())

    return service


def member_service(answer: Answer) -> Service:
    """The method by which seeds, or any peer, deliver offers to a node."""
    service = Service("signalling", public=True)
    rates: Rates[NodeId] = Rates(CARRIER_RATE, CARRIER_BURST)
    now = asyncio.get_running_loop().time

    @service.method
    async def deliver(sealed: bytes, wait: float, call: Call) -> bytes:
        """Answer an offer; `wait` is when to begin to punch, in seconds from now."""
        if pause := rates.take(call.peer.node_id, now()):
            raise rpc_error(Status.RESOURCE_EXHAUSTED, f"too often; try again in {pause:.3f} s")
        with _Statuses():
            return answer(sealed, wait)

    return service


class SeedClient:
    """A seed as its members call it: a `Registrar` and a `SeedChannel`."""

    def __init__(self, seed: NodeId, client: Client) -> None:
        self._seed = seed
        self._client = client

    @property
    def seed(self) -> NodeId:
        return self._seed

    async def register(self, blob: bytes) -> Registered:
        """Register or renew. Raises RpcError."""
        answer = await self._client.call("seed.register", {"registration": blob})
        welcome = _as(Welcome, answer)
        return Registered(welcome.lifetime, SocketAddress.parse(welcome.observed))

    async def unregister(self) -> None:
        """Be forgotten. Raises RpcError."""
        await self._client.call("seed.unregister")

    async def find(self, node_id: NodeId) -> bytes:
        """The registration of a node. Raises LookupFailed or RpcError."""
        try:
            found = await self._client.call("seed.find", {"node_id": str(node_id)})
        except RpcError as error:
            if error.status == Status.NOT_FOUND:
                raise LookupFailed(error.message) from error
            raise
        return _as(bytes, found)

    async def offer(self, to: NodeId, sealed: bytes) -> bytes:
        """Have a sealed offer delivered. Raises RpcError."""
        params = {"to": str(to), "sealed": sealed}
        return _as(bytes, await self._client.call("seed.offer", params))


async def deliver(client: Client, sealed: bytes, wait: float) -> bytes:
    """Give an offer to a member, as a seed does. Raises RpcError."""
    params = {"sealed": sealed, "wait": wait}
    answer = await client.call("signalling.deliver", params, timeout=DELIVERY_TIMEOUT)
    return _as(bytes, answer)


def _as(kind: type[T], answer: object) -> T:
    """What a peer answered, checked. Raises RemoteProtocolError."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"an answer that is no {kind.__name__}") from error


class _Statuses:
    """Turns what signalling raises into statuses: its texts are made for whoever asked."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, KeynetError) or isinstance(error, RpcError):
            return
        status = next((s for of, s in _STATUS if isinstance(error, of)), Status.UNAVAILABLE)
        raise rpc_error(status, str(error)) from error
