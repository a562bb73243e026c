"""The reverse proxy: leads peers' streams to exposed local servers, if they are let in.

Which services there are and who may reach them is in `services.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from keynet.address import NodeId
from keynet.config.values import LocalAddress, is_protocol
from keynet.errors import ConfigError, KeynetError, ProxyRefused
from keynet.rpc.api import ByteStream, StreamHandler
from keynet.rpc.proxy.audit import Audit, socket_address
from keynet.rpc.proxy.head import ESTABLISHED, BadHead, ConnectHead, RequestReader, brief_refusal
from keynet.rpc.proxy.pipe import Traffic, pipe
from keynet.rpc.proxy.services import Access, Services
from keynet.rpc.proxy.status import reason_of
from keynet.rpc.proxy.target import Builtin, ClientTarget, parse_authority
from keynet.rpc.proxy.tcp import TcpEnd, connect, receive_buffer

logger = logging.getLogger(__name__)

_READ = 16384


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A service that the peer was found to be let in to."""

    port: int
    target: LocalAddress
    matched: NodeId


@dataclass(slots=True)
class Outcome:
    """What became of one stream: filled in while it is served, for the owner to see."""

    service: int | None = None
    """The port that was asked for; None while unknown, and for a built-in protocol."""
    protocol: str | None = None
    """The built-in protocol that was asked for."""
    status: int | None = None
    """What the peer was answered; None when it left before that."""
    reason: str | None = None
    """Why it was refused, or broke off; None when all went well."""
    traffic: Traffic = field(default_factory=Traffic)


class ReverseProxy:
    """Serves the streams that peers open."""

    def __init__(
        self,
        local_ids: Collection[NodeId],
        services: Services,
        access: Access,
        *,
        head_timeout: float = 10.0,
        dial_timeout: float = 5.0,
        max_streams: int = 2048,
        max_streams_per_peer: int = 1024,
    ) -> None:
        """`local_ids` are this node's own ids, current and earlier; timeouts are in seconds."""
        self.local_ids = local_ids
        """Assign anew after a key rotation."""
        self.services = services
        self.access = access
        self.audit = Audit()
        """Who is connected to what."""
        self._builtins: dict[str, StreamHandler] = {}
        self._head_timeout = head_timeout
        self._dial_timeout = dial_timeout
        self._max_streams = max_streams
        self._max_streams_per_peer = max_streams_per_peer
        self._buffer = receive_buffer()
        self._running: dict[NodeId, set[asyncio.Task[object]]] = {}

    def serve_protocol(self, name: str, handler: StreamHandler | None) -> None:
        """Hand new streams to the built-in protocol `name` to `handler`; None refuses them.

        The handler gets a stream whose 200 is sent, and answers for whom it lets in. Raises
        ConfigError for a name that no CONNECT can carry.
        """
        if not is_protocol(name):
            raise ConfigError(
                f"a built-in protocol is named in at most 31 lower-case letters, digits and "
                f"hyphens, not {name!r}"
            )
        if handler is None:
            self._builtins.pop(name, None)
        else:
            self._builtins[name] = handler

    async def serve(self, stream: ByteStream, outcome: Outcome | None = None) -> None:
        """Serve one accepted stream until it has ended, and fill in `outcome`. Raises nothing.

        Cancelling breaks the stream off.
        """
        outcome = outcome or Outcome()
        peer = stream.connection.peer.node_id
        tasks = self._running.setdefault(peer, set())
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await self._serve(stream, outcome)
        except KeynetError as error:
            outcome.reason = reason_of(error)
            logger.info("a stream of %s broke off: %s", peer.short, reason_of(error))
            stream.reset()
        except BaseException:
            stream.reset()
            raise
        finally:
            tasks.discard(task)
            if not tasks:
                self._running.pop(peer, None)

    async def aclose(self) -> None:
        """Break off every stream that is being served. Idempotent."""
        tasks = [task for tasks in self._running.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, stream: ByteStream, outcome: Outcome) -> None:
        try:
            self._check_room(stream.connection.peer.node_id)
            head = await self._read_head(stream)
            wanted = _parse(head.target)
            if isinstance(wanted, Builtin):
                outcome.protocol = wanted.name
                handler = self._builtin(wanted)
                stream.write(ESTABLISHED)
                outcome.status = 200
                await handler(stream, head.early)
                return
            outcome.service = self.services.only if wanted.port is None else wanted.port
            admitted = self._admit(wanted, outcome.service, stream)
            end = await self._dial(admitted)
        except (BadHead, ProxyRefused) as error:
            outcome.status, outcome.reason = error.status, str(error)
            await self._refuse(stream, error)
            return
        await self._carry(end, stream, admitted, head.early, outcome)

    def _check_room(self, peer: NodeId) -> None:
        if len(self._running[peer]) > self._max_streams_per_peer:
            raise ProxyRefused(503, "this node serves as many streams of yours as it may")
        if sum(len(tasks) for tasks in self._running.values()) > self._max_streams:
            raise ProxyRefused(503, "this node serves as many streams as it may")

    async def _read_head(self, stream: ByteStream) -> ConnectHead:
        reader = RequestReader()
        try:
            async with asyncio.timeout(self._head_timeout):
                while data := await stream.read(_READ):
                    head = reader.feed(data)
                    if head is not None:
                        return head
        except TimeoutError as error:
            raise BadHead(400, "no complete CONNECT came in time") from error
        raise BadHead(400, "the stream ended before a complete CONNECT")

    def _builtin(self, wanted: Builtin) -> StreamHandler:
        handler = self._builtins.get(wanted.name)
        if handler is None:
            raise ProxyRefused(404, f"this node does not speak {wanted.name}")
        return handler

    def _admit(self, wanted: ClientTarget, port: int | None, stream: ByteStream) -> _Admitted:
        """Whether and where the peer is let in. Who may reach nothing learns of no service."""
        if wanted.node_id not in self.local_ids:
            raise ProxyRefused(404, f"this is not node {wanted.node_id}")
        lineage = stream.connection.peer.lineage
        if not (self.access.knows(lineage) if port is None else self.access.match(lineage, port)):
            raise ProxyRefused(403, "this node does not let you in to that service")
        if port is None:
            raise ProxyRefused(404, f"this node exposes {len(self.services)} services: name one")
        target, matched = self.services.find(port), self.access.match(lineage, port)
        if target is None or matched is None:
            raise ProxyRefused(404, f"this node exposes no service {port}")
        return _Admitted(port, target, matched)

    async def _dial(self, admitted: _Admitted) -> TcpEnd:
        target = admitted.target
        try:
            async with asyncio.timeout(self._dial_timeout):
                return await connect(target, self._buffer)
        except TimeoutError as error:
            raise ProxyRefused(504, f"the server of service {admitted.port} is silent") from error
        except (OSError, UnicodeError) as error:
            logger.warning("service %d: cannot connect to %s: %s", admitted.port, target, error)
            raise ProxyRefused(502, f"the server of service {admitted.port} refused") from error

    async def _carry(
        self,
        end: TcpEnd,
        stream: ByteStream,
        admitted: _Admitted,
        early: bytes,
        outcome: Outcome,
    ) -> None:
        traffic, port = outcome.traffic, admitted.port
        client = socket_address(end.transport.get_extra_info("sockname"))
        try:
            with self.audit.running(stream, admitted.matched, port, client, traffic, end):
                stream.write(ESTABLISHED)
                outcome.status = 200
                error = await pipe(end, stream, traffic, from_peer=early)
        except BaseException:
            end.abort()
            raise
        if error is not None:
            outcome.reason = str(error)
            logger.info("service %d: a connection broke off: %s", port, error)

    async def _refuse(self, stream: ByteStream, error: BadHead | ProxyRefused) -> None:
        logger.info("refused a stream of %s: %s", stream.connection.peer.node_id.short, error)
        stream.write(brief_refusal(error.status, str(error)))
        await stream.aclose()


def _parse(target: str) -> ClientTarget | Builtin:
    try:
        return parse_authority(target)
    except ConfigError as error:
        raise BadHead(400, str(error)) from error
