"""The two ends of a check: a caller's node, a serving node, and what joins them.

Over byte streams in memory both ends run in virtual time; a binding that needs sockets is given
the real proxies on loopback. Checks need not know which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Unpack

from keynet.errors import RpcError
from keynet.identity import Identity
from keynet.rpc.access import AllowCalls, CallAccess
from keynet.rpc.api import (
    Binding,
    Channel,
    ClientCall,
    ClientInterceptor,
    Metadata,
    Request,
    Server,
    ServerInterceptor,
)
from keynet.rpc.client import NO_PARAMS, Client, Options
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.limits import DEFAULT, Limits
from keynet.rpc.method import Kind, Method, untyped
from keynet.rpc.status import Status
from keynet.testing.rpc.network import JoinedNetwork
from keynet.testing.rpc.probe import Probe
from keynet.testing.rpc.sockets import over_sockets
from keynet.testing.transport.scene import identity

KINDS = {
    "ask": Kind.UNARY,
    "give": Kind.SERVER_STREAM,
    "take": Kind.CLIENT_STREAM,
    "swap": Kind.DUPLEX,
}
"""The method of each kind that any call can be made of without parameters."""

NAMES = tuple(KINDS)
AT_REST = 5
"""Looks at a number that must all find the same before it is taken to stand still."""


Pairing = Callable[
    [Identity, Identity], AbstractAsyncContextManager[tuple[JoinedNetwork, JoinedNetwork]]
]
"""Joins two nodes' networks: `in_memory`, `over_sockets` (in real time), `over_utp`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, and what it gave before that."""

    values: list[Any] = field(default_factory=list)
    """The items, or the result alone."""
    error: RpcError | None = None
    metadata: Metadata = ()
    """The function's."""

    @property
    def status(self) -> Status:
        return Status.OK if self.error is None else Status(self.error.status)

    @property
    def result(self) -> Any:
        """The result of a call that must have gone well."""
        return self.items[0]

    @property
    def items(self) -> list[Any]:
        """What came of a call, which says so when it came with an unexpected error."""
        assert self.values or self.error is None, (
            f"the call failed: {self.status.name} {self.error}"
        )
        return self.values


@dataclass(slots=True)
class Scene:
    """Both ends, and the verbs that checks are written in."""

    near: JoinedNetwork
    far: JoinedNetwork
    probe: Probe
    server: Server
    channel: Channel
    client: Client
    soon: float
    """Seconds within which one round trip is over."""
    ends: Ends

    def method(self, name: str) -> Method[..., Any]:
        return self.probe.service[name]

    def named(self, name: str) -> Method[..., Any]:
        """A method of the probe as who has no definition of it calls it."""
        return untyped(f"{self.probe.service.name}.{name}", KINDS.get(name, Kind.UNARY))

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def lose(self, reason: str) -> None:
        """Have the path between the nodes die."""
        self.near.lose(reason)

    async def start(
        self,
        method: str | Method[..., Any],
        params: Mapping[str, Any] = NO_PARAMS,
        **options: Unpack[Options],
    ) -> ClientCall:
        """Begin a call. Raises RpcError."""
        if isinstance(method, str):
            method = self.method(method)
        request = Request(method, method.params(**params), **options)
        return await self.client.start(request)

    async def call(
        self,
        method: str | Method[..., Any],
        params: Mapping[str, Any] = NO_PARAMS,
        *,
        items: Iterable[Any] = (),
        **options: Unpack[Options],
    ) -> Outcome:
        """A whole call; `items` are sent when the client streams."""
        if isinstance(method, str):
            method = self.method(method)
        try:
            call = await self.start(method, params, **options)
        except RpcError as error:
            return Outcome(error=error)
        return await self.see_out(call, method, items)

    async def see_out(
        self,
        call: ClientCall,
        method: str | Method[..., Any],
        items: Iterable[Any] = (),
        *,
        sending: bool = True,
    ) -> Outcome:
        """Send `items`, unless all was sent already, and receive to the end of the call."""
        if isinstance(method, str):
            method = self.method(method)
        feeding = None
        if method.kind.client_streams and sending:
            feeding = asyncio.create_task(_feed(call, items))
        values: list[Any] = []
        try:
            error = await _receive(call, method.kind, values)
        finally:
            call.cancel()
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait([feeding])
        if feeding is not None and not feeding.cancelled() and feeding.result() is not None:
            error = feeding.result()
        return Outcome(values, error, call.reply_metadata)

    async def until(
        self, condition: Callable[[], object], what: str, within: float | None = None
    ) -> None:
        """Wait for `condition`, at most one round trip or `within` seconds."""
        end = self.now() + (self.soon if within is None else within)
        while not condition():
            assert self.now() < end, (
                f"{what}: not within {'a round trip' if within is None else within}"
            )
            await asyncio.sleep(self.soon / 50)

    async def stopped(self, *names: str) -> None:
        """Wait until calls of these methods have been stopped at the serving end."""
        for name in names:
            await self.until(partial(self.probe.stopped.get, name), f"{name} is stopped")

    async def at_rest(self, value: Callable[[], int]) -> None:
        """Wait until a number that grows stands still, or has grown for far too long."""
        seen, same = value(), 0
        for _ in range(100):
            await asyncio.sleep(self.soon / 2)
            seen, same = (value(), same + 1) if value() == seen else (value(), 0)
            if same == AT_REST:
                return

    async def until_idle(self) -> None:
        """Wait until both ends have noticed what happened to their connection."""
        await asyncio.sleep(self.soon)

    @contextlib.asynccontextmanager
    async def turned_round(self) -> AsyncIterator[Scene]:
        """The same nodes, with calls the other way."""
        async with self.ends.between(self.far, self.near) as scene:
            yield scene


class Ends:
    """Makes the two ends, as a check asks for them."""

    def __init__(self, make: Callable[[], Binding], pairing: Pairing) -> None:
        self.make = make
        self.soon = 0.5 if pairing is over_sockets else 0.05
        """Seconds within which one round trip is over, in real time on a busy machine too."""
        self._pairing = pairing

    @contextlib.asynccontextmanager
    async def joined(self, **settings: Any) -> AsyncIterator[Scene]:
        """Two nodes, one of which serves; `settings` are those of `between`."""
        async with (
            self._pairing(identity("dialer"), identity("listener")) as (near, far),
            self.between(near, far, **settings) as scene,
        ):
            yield scene

    @contextlib.asynccontextmanager
    async def between(
        self,
        near: JoinedNetwork,
        far: JoinedNetwork,
        *,
        probe: Probe | None = None,
        access: CallAccess | None = None,
        limits: Limits = DEFAULT,
        client: Sequence[ClientInterceptor] = (),
        server: Sequence[ServerInterceptor] = (),
    ) -> AsyncIterator[Scene]:
        """`far` serves a Probe, which `near` may call as it likes unless `access` is given.

        Each end has a binding of its own, as in two processes.
        """
        probe = probe or Probe()
        access = access or CallAccess([AllowCalls(near.node_id, None)])
        dispatch = Dispatcher([probe.service], access=access, limits=limits, interceptors=server)
        serving = await self.make().serve(far, dispatch)
        channel = self.make().connect(near, far.node_id)
        caller = Client(channel, interceptors=client)
        try:
            yield Scene(near, far, probe, serving, channel, caller, self.soon, self)
        finally:
            await caller.aclose()
            await serving.aclose(0.0)

    def quiet_log(self) -> AbstractAsyncContextManager[None]:
        """Nothing of what the functions of a check raise is logged meanwhile."""
        return _quiet(logging.getLogger("keynet.rpc"))


@contextlib.asynccontextmanager
async def _quiet(log: logging.Logger) -> AsyncIterator[None]:
    before, log.disabled = log.level, False
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


async def _feed(call: ClientCall, items: Iterable[Any]) -> RpcError | None:
    try:
        for item in items:
            await call.send(item)
        await call.finish_sending()
    except RpcError as error:  # an item that this side refuses to send
        call.cancel()
        return error
    return None


async def _receive(call: ClientCall, kind: Kind, values: list[Any]) -> RpcError | None:
    try:
        if not kind.server_streams:
            values.append(await call.result())
            return None
        while True:
            values.append(await call.receive())
    except StopAsyncIteration:
        return None
    except RpcError as error:
        return error
