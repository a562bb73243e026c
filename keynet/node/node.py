"""The composition root: settings in, a running node out. All wiring is here, and no protocol.

Lower layers declare what they need and are given it here: the proxies their dialer, the host its
endpoint, identity and transports. `async with Node(config) as node` is where library use begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from keynet.address import NodeId, SocketAddress
from keynet.config import Config, UnixPath
from keynet.config.values import LocalAddress
from keynet.errors import ClosedError, ConfigError, KeynetError, LocalProtocolError
from keynet.identity import Identity, IdentityStore
from keynet.node.dialer import PeerDialer
from keynet.node.events import Events, IdentityChanged, NodeEvent, Ready, Stopped
from keynet.node.loading import load_service
from keynet.node.network import NodeNetwork
from keynet.node.pieces import (
    access,
    bind_sockets,
    call_access,
    link_settings,
    seed_lines,
    transports_of,
    written,
)
from keynet.node.rpc import Rpc, bindings_of
from keynet.node.serving import Serving
from keynet.node.signalling import Signalling
from keynet.node.statics import Statics
from keynet.node.token import kept_token, new_token
from keynet.rpc import limits as of_calls
from keynet.rpc.access import CallAccess
from keynet.rpc.api import Binding, ClientInterceptor, ServerInterceptor
from keynet.rpc.client import Client
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.own_service import own_service
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.forward import ForwardProxy
from keynet.rpc.proxy.reverse import ReverseProxy
from keynet.rpc.proxy.services import Services
from keynet.rpc.service import Service
from keynet.state import StateLock, state_dir
from keynet.transport.connection import Connection
from keynet.transport.crowd import Limits
from keynet.transport.host import Host
from keynet.udp.api import Endpoint

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
        services: Iterable[Service] = (),
        limits: of_calls.Limits = of_calls.DEFAULT,
        interceptors: Sequence[ServerInterceptor] = (),
    ) -> None:
        """`passphrase` unlocks the key at rest; `endpoint` replaces UDP sockets (simulation).

        `services` are served besides the settings' own; `limits` and `interceptors` hold for
        every call of a peer. Raises ConfigError when two services have one name.
        """
        self.config = config or Config()
        self.dispatcher = Dispatcher(
            services, access=call_access(self.config), limits=limits, interceptors=interceptors
        )
        """Runs what peers call, over every binding."""
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
    statics: Statics
    """Peers whose addresses are known outright; may be changed at any time."""
    dialer: PeerDialer
    serving: Serving
    network: NodeNetwork
    """What RPC bindings are given."""
    rpc: Rpc
    """The bindings that run, and what each gave for its server."""
    signalling: Signalling
    """Seeds, offers, paths: who is met where, and why not."""
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
                written(self.config.allow),
                tuple(service.name for service in self.dispatcher.services),
                written(self.config.allow_call),
                seed_lines(self.node_id, self.endpoint) if self.config.seeding else (),
            )
        )

    async def aclose(self, reason: str | None = None) -> None:
        """Close in order: calls (they have the setting's grace), proxies, streams, connections
        (their FINs are sent), sockets, lock.

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

    @property
    def calls(self) -> CallAccess:
        """Which peers may call what; change it at any time."""
        return self.dispatcher.access

    def serve(self, service: Service) -> None:
        """Let peers call `service` from now on, those that `calls` permits; also before `start`.

        Raises ConfigError when a service of that name is served.
        """
        self.dispatcher.add(service)

    def client(
        self,
        node_id: NodeId,
        binding: str | None = None,
        *,
        interceptors: Sequence[ClientInterceptor] = (),
    ) -> Client:
        """Calls to that peer, or to this node itself, over the binding named or the setting's.

        Dials nothing yet; all clients of a peer share a channel, and need not be closed before
        the node. Raises ConfigError for a binding that this node does not run.
        """
        return self.rpc.client(node_id, binding, interceptors=interceptors)

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
        transports, bindings = transports_of(self.config), bindings_of(self.config)
        for wanted in self.config.serve:
            self.serve(load_service(wanted))
        identity = await self._load_identity()
        self.endpoint = self._given_endpoint or await bind_sockets(self.config.listen)
        self._stack.callback(self.endpoint.close)
        limits = Limits(per_network=self.config.connections_per_network)
        self.host = Host(
            self.endpoint,
            identity,
            transports,
            limits,
            link_settings=link_settings(self.config),
        )
        self._stack.push_async_callback(self.host.aclose)
        self._open_reverse_proxy()
        self.statics = Statics(self.config.peer, self.endpoint.addresses, self.config.seed)
        self.dialer = PeerDialer(
            self.host,
            self.statics,
            transport=self.config.transport,
            publish=self._publish,
            deadline=self.config.deadline,
        )
        await self._open_forward_proxy()
        await self._open_rpc(bindings)
        await self._open_signalling()
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

    def _open_reverse_proxy(self) -> None:
        self.reverse_proxy = ReverseProxy(
            self.identity.lineage, Services(self.config.expose), access(self.config)
        )
        self._stack.push_async_callback(self.reverse_proxy.aclose)
        self.serving = Serving(self.reverse_proxy.serve, self._publish)
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

    async def _open_rpc(self, bindings: Sequence[Binding]) -> None:
        self.network = NodeNetwork(
            lambda: self.identity, self.dialer, self.reverse_proxy, deadline=self.config.deadline
        )
        self._stack.push_async_callback(self.network.aclose)
        self.calls.owner = self.node_id
        self.serve(own_service(lambda: self.node_id, self.dispatcher.open_to))
        self.rpc = Rpc(self.network, self.dispatcher, bindings)
        self._stack.push_async_callback(self.rpc.aclose, self.config.grace)
        await self.rpc.start()

    async def _open_signalling(self) -> None:
        self.signalling = Signalling(
            self.config,
            self.host,
            self.endpoint,
            self.reverse_proxy.access,
            self.statics,
            self.client,
            self._publish,
        )
        if self.config.seed:
            self.dialer.meet = self.signalling.meeting.open_path
        for service in self.signalling.services:
            self.serve(service)
        self._stack.push_async_callback(self.signalling.aclose)
        await self.signalling.start()

    def _choose_token(self) -> str | None:
        if self.config.proxy_token is not None or self.config.proxy is None:
            return self.config.proxy_token
        if isinstance(self.config.proxy, UnixPath):
            return None
        return kept_token(self.state) if self.state is not None else new_token()

    # What runs beside.

    def _publish(self, event: NodeEvent) -> None:
        self.network.note(event)
        self.signalling.note(event)
        self.events.publish(event)

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._stack.push_async_callback(_cancelled, task)

    async def _accept_connections(self) -> None:
        try:
            while True:
                connection = await self.host.accept()
                if self.signalling.refuses(connection.peer):
                    connection.close()
                else:
                    self.serving.adopt(connection)
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
        self.signalling.identity_changed()
        self.calls.owner = identity.node_id
        self.events.publish(IdentityChanged(identity.node_id, rotated))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
