"""The composition root: settings in, a running node out. All wiring is here, and no protocol.

Lower layers declare what they need and are given it here: the proxies their dialer, the host its
endpoint, identity and transports. `async with Node(config) as node` is where library use begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from keynet import plugins
from keynet.address import NodeId, SocketAddress
from keynet.config import Config, UnixPath
from keynet.config.values import Allow, LocalAddress
from keynet.errors import (
    ClosedError,
    ConfigError,
    KeynetError,
    LocalProtocolError,
)
from keynet.identity import Identity, IdentityStore
from keynet.node.dialer import PeerDialer
from keynet.node.events import Events, IdentityChanged, Ready, Stopped
from keynet.node.serving import Serving
from keynet.node.token import kept_token, new_token
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.forward import ForwardProxy
from keynet.rpc.proxy.reverse import ReverseProxy
from keynet.rpc.proxy.services import Access, Services
from keynet.state import StateLock, state_dir
from keynet.transport.api import GROUP, Transport
from keynet.transport.connection import Connection
from keynet.transport.crowd import Limits
from keynet.transport.host import Host
from keynet.udp.api import Endpoint
from keynet.udp.endpoint import bind

BUILT_IN_TRANSPORT = "utp"
"""Always there beside the transport that was chosen, for signalling."""

EVERY_FAMILY = (SocketAddress("0.0.0.0", 0), SocketAddress("::", 0))
RENEWAL_CHECK_INTERVAL = 3600.0
"""Seconds between looks at the calendar: whether the certificate is due for renewal."""

log = logging.getLogger(__name__)


class Node:
    """A running member of the network.

    Without an `identity`, the node lives in a state directory: its key is loaded from there (or
    made at the first start), its proxy token is kept there, and the directory is locked. With one,
    nothing is written to disk.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        identity: Identity | None = None,
        passphrase: bytes | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        """`passphrase` unlocks the key at rest; `endpoint` replaces UDP sockets (simulation)."""
        self.config = config or Config()
        self.events = Events()
        """Iterate it for this node's events; subscribe before starting to see Ready."""
        self._identity = identity
        self._passphrase = passphrase
        self._given_endpoint = endpoint
        self._stack = AsyncExitStack()
        self._store: IdentityStore | None = None
        self._proxy_token: str | None = None
        self._started = False
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()
        self._changing_identity = asyncio.Lock()
        self.state: Path | None = None
        """The state directory, once started; None without one."""
        self.failure: KeynetError | None = None
        """Why the node closed by itself; None when it did not."""

    # Set by `start`: the pieces, for who composes further.
    endpoint: Endpoint
    host: Host
    dialer: PeerDialer
    serving: Serving
    forward_proxy: ForwardProxy
    """Its `audit` tells who of this machine is connected to which peer's service."""
    reverse_proxy: ReverseProxy
    """Its `audit` tells which peer is behind a local server's connection."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Open everything; returns when peers and clients can connect.

        Raises ConfigError, PluginError or IdentityError, with nothing left open. Once only.
        """
        if self._started:
            raise LocalProtocolError("a Node starts once: make another one")
        self._started = True
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise
        self.events.publish(
            Ready(
                self.node_id,
                self.endpoint.addresses,
                str(self.proxy) if self.proxy is not None else None,
                {service.port: str(service.target) for service in self.config.expose},
                _written(self.config.allow),
            )
        )

    async def aclose(self, reason: str | None = None) -> None:
        """Close in order: proxies, streams, connections (their FINs are sent), sockets, lock.

        Idempotent. `reason` is what subscribers are told, when it was not on purpose.
        """
        if self._closed:
            await self._all_closed.wait()
            return
        self._closed = True
        try:
            await self._stack.aclose()
        finally:
            self.events.publish(Stopped(reason))
            self._all_closed.set()

    # What a running node is and has.

    @property
    def identity(self) -> Identity:
        return self.host.identity

    @property
    def node_id(self) -> NodeId:
        return self.host.identity.node_id

    @property
    def proxy(self) -> LocalAddress | None:
        """Where the forward proxy listens, its port filled in; None without one."""
        found = self.forward_proxy.addresses
        return found[0] if found else None

    @property
    def proxy_token(self) -> str | None:
        """What its clients must show; None when they need not."""
        return self._proxy_token

    async def connect(self, node_id: NodeId, address: SocketAddress | None = None) -> Connection:
        """A connection to that node: the open one, else a dial to `address` or its static peer.

        Raises LookupFailed, ConnectError, IdentityError, DeadlineExceeded (before the setting's
        deadline) or ConfigError (its own id). Cancellable.
        """
        return await self.dialer.connect(Target(node_id, address))

    async def rotate(self) -> NodeId:
        """Give the node a new key, certified by the old one; new connections show it.

        Open connections go on. Returns the new id; peers that know the old one still reach it.
        """
        async with self._changing_identity:
            if self._store is not None:
                rotated = await asyncio.to_thread(self._store.rotate, self._passphrase)
            else:
                rotated = self.identity.rotate()
            self._use(rotated, rotated=True)
            return rotated.node_id

    # Opening, bottom up; the stack closes it top down.

    async def _open(self) -> None:
        transports = _transports(self.config)
        identity = await self._load_identity()
        self.endpoint = await self._bind()
        self._stack.callback(self.endpoint.close)
        limits = Limits(per_network=self.config.connections_per_network)
        self.host = Host(self.endpoint, identity, transports, limits)
        self._stack.push_async_callback(self.host.aclose)
        self._open_reverse_proxy()
        self.dialer = PeerDialer(
            self.host,
            self.config.peer,
            transport=self.config.transport,
            local=self.endpoint.addresses,
            publish=self.events.publish,
            deadline=self.config.deadline,
        )
        await self._open_forward_proxy()
        self._run(self._accept_connections(), "accept connections")
        self._run(self._renew_certificate(), "renew certificate")

    async def _load_identity(self) -> Identity:
        if self._identity is not None:
            return self._identity
        self.state = state_dir(self.config.state)
        lock = StateLock(self.state)
        lock.acquire()
        self._stack.callback(lock.release)
        self._store = IdentityStore(self.state)
        return await asyncio.to_thread(self._store.load_or_create, self._passphrase)

    async def _bind(self) -> Endpoint:
        if self._given_endpoint is not None:
            return self._given_endpoint
        if self.config.listen:
            try:
                return await bind(self.config.listen)
            except OSError as error:
                wanted = ", ".join(str(address) for address in self.config.listen)
                raise ConfigError(
                    f"cannot listen on UDP {wanted}: {error.strerror or error}; "
                    "choose another address or port with --listen"
                ) from error
        try:
            return await bind(EVERY_FAMILY)
        except OSError as error:
            log.info("no IPv6 here (%s): listening on IPv4 only", error)
            return await bind(EVERY_FAMILY[:1])

    def _open_reverse_proxy(self) -> None:
        rules = () if self.config.allow == "any" else self.config.allow
        self.reverse_proxy = ReverseProxy(
            self.identity.lineage,
            Services(self.config.expose),
            Access(rules, anyone=self.config.allow == "any"),
        )
        self._stack.push_async_callback(self.reverse_proxy.aclose)
        self.serving = Serving(self.reverse_proxy.serve, self.events.publish)
        self._stack.push_async_callback(self.serving.aclose)

    async def _open_forward_proxy(self) -> None:
        self._proxy_token = self._choose_token()
        self.forward_proxy = ForwardProxy(
            self.dialer, token=self._proxy_token, deadline=self.config.deadline
        )
        self._stack.push_async_callback(self.forward_proxy.aclose)
        if self.config.proxy is not None:
            try:
                await self.forward_proxy.listen(self.config.proxy)
            except ConfigError as error:
                raise ConfigError(f"{error}; choose another address with --proxy") from error

    def _choose_token(self) -> str | None:
        if self.config.proxy_token is not None or self.config.proxy is None:
            return self.config.proxy_token
        if isinstance(self.config.proxy, UnixPath):
            return None
        return kept_token(self.state) if self.state is not None else new_token()

    # What runs beside.

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._stack.push_async_callback(_cancelled, task)

    async def _accept_connections(self) -> None:
        try:
            while True:
                self.serving.adopt(await self.host.accept())
        except ClosedError as error:
            if not self._closed:  # the sockets themselves broke
                self.failure = error
                self._closing = asyncio.create_task(self.aclose(str(error)))

    async def _renew_certificate(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_CHECK_INTERVAL)
            await self.renew_if_due()

    async def renew_if_due(self, now: datetime | None = None) -> None:
        """Issue the certificate again when two thirds of its life are over; runs by itself."""
        async with self._changing_identity:
            renewed = self.identity.renewed(now)
            if renewed is self.identity:
                return
            if self._store is not None:
                renewed = await asyncio.to_thread(self._store.load_or_create, self._passphrase, now)
            self._use(renewed, rotated=False)

    def _use(self, identity: Identity, *, rotated: bool) -> None:
        self.host.identity = identity
        self.reverse_proxy.local_ids = identity.lineage
        self.events.publish(IdentityChanged(identity.node_id, rotated))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _written(allow: tuple[Allow, ...] | Literal["any"]) -> tuple[str, ...]:
    return (allow,) if isinstance(allow, str) else tuple(str(rule) for rule in allow)


def _transports(config: Config) -> list[Transport]:
    """The chosen transport first; the built-in one beside it."""
    options: dict[str, object] = dict(config.transport_option)
    chosen = plugins.create(GROUP, config.transport, Transport, **options)
    if config.transport == BUILT_IN_TRANSPORT:
        return [chosen]
    return [chosen, plugins.create(GROUP, BUILT_IN_TRANSPORT, Transport)]
