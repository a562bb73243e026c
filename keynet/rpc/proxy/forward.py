"""The forward proxy: programs of this machine CONNECT through it to services of peers.

What a head may say is in `head.py` and `target.py`, which error gives which status in
`status.py`; how a peer is found and reached is the injected dialer's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence

from keynet.address import SocketAddress
from keynet.config.values import LocalAddress, UnixPath
from keynet.errors import ConfigError, DeadlineExceeded, KeynetError, LookupFailed
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.api import Dialer, Resolver, Target
from keynet.rpc.proxy.audit import Audit, socket_address
from keynet.rpc.proxy.credentials import Credentials
from keynet.rpc.proxy.dials import Dials
from keynet.rpc.proxy.head import (
    ESTABLISHED,
    BadHead,
    ConnectHead,
    RequestReader,
    refusal,
)
from keynet.rpc.proxy.listener import Listener, listen
from keynet.rpc.proxy.opening import open_tunnel, reach
from keynet.rpc.proxy.pipe import Traffic, pipe
from keynet.rpc.proxy.status import reason_of, status_of
from keynet.rpc.proxy.target import locate, parse_target
from keynet.rpc.proxy.tcp import TcpEnd, receive_buffer

logger = logging.getLogger(__name__)


async def resolve_by_system(host: str, port: int) -> Sequence[SocketAddress]:
    """The system's own resolver (getaddrinfo). Raises LookupFailed."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # a label that is too long is a UnicodeError
        raise LookupFailed(f"no address is known for {host}: {error}") from error
    return [address for *_, name in found if (address := socket_address(name)) is not None]


class ForwardProxy:
    """Takes CONNECTs on any number of listening sockets. Close it with `aclose`."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        token: str | None,
        deadline: float = 15.0,
        head_timeout: float = 10.0,
        hold: float = 0.05,
        linger: float = 2.0,
        max_clients: int = 1024,
        resolve: Resolver = resolve_by_system,
    ) -> None:
        """`token` None asks for no credentials, which is for Unix sockets alone.

        In seconds: `deadline` for a whole CONNECT from its head to its answer, `head_timeout` for
        the head, `hold` for which the peer's first bytes wait for the client's, `linger` for the
        client to read an error and leave.
        """
        self._dials = Dials(dialer)
        self._credentials = Credentials(token)
        self._resolve = resolve
        self._deadline = deadline
        self._head_timeout = head_timeout
        self._hold = hold
        self._linger = linger
        self._max_clients = max_clients
        self._buffer = receive_buffer()
        self._listeners: list[Listener] = []
        self._clients: dict[TcpEnd, asyncio.Task[None]] = {}
        self._without_head: dict[TcpEnd, None] = {}
        self._closed = False
        self.audit = Audit()
        """Who is connected to whom."""

    @property
    def addresses(self) -> tuple[LocalAddress, ...]:
        """Where it listens."""
        return tuple(listener.address for listener in self._listeners)

    async def listen(self, address: LocalAddress) -> LocalAddress:
        """Take CONNECTs on `address`, too; returns it with its real port. Raises ConfigError."""
        if not self._credentials.needed and not isinstance(address, UnixPath):
            raise ConfigError(f"a proxy on {address} needs a token: any user could connect to it")
        listener = await listen(address, lambda: TcpEnd(self._buffer, self._on_client))
        self._listeners.append(listener)
        return listener.address

    async def aclose(self) -> None:
        """Stop listening, and break off what runs. Idempotent."""
        self._closed = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.aclose()
        tasks = list(self._clients.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in listeners:
            await listener.wait_closed()

    # One client.

    def _on_client(self, end: TcpEnd) -> None:
        full = len(self._clients) >= self._max_clients and not self._make_room()
        if full or self._closed:
            end.write(refusal(503, f"the proxy serves its {self._max_clients} clients already"))
            end.close()
            return
        task = asyncio.ensure_future(self._serve(end))
        self._without_head[end] = None
        self._clients[end] = task
        task.add_done_callback(lambda task: self._left(end, task))

    def _make_room(self) -> bool:
        """Drop the client that has been sending its head for longest, if there is one."""
        oldest = next(iter(self._without_head), None)
        if oldest is None:
            return False
        del self._without_head[oldest]
        self._clients.pop(oldest).cancel()
        return True

    def _left(self, end: TcpEnd, task: asyncio.Task[None]) -> None:
        self._clients.pop(end, None)
        self._without_head.pop(end, None)
        if task.cancelled():
            end.abort()
        elif task.exception() is not None:
            end.abort()
            logger.error("a proxy client failed", exc_info=task.exception())

    async def _serve(self, end: TcpEnd) -> None:
        traffic = Traffic()
        try:
            head = await self._read_head(end)
            end.when_gone(_this_task().cancel)
            target, stream, from_peer = await self._reach(head)
        except (KeynetError, OSError) as error:
            await self._refuse(end, status_of(error), reason_of(error))
            return
        except Exception as error:
            logger.exception("a CONNECT failed in a way that it should not")
            await self._refuse(end, status_of(error), "this node failed: its log tells how")
            return
        end.when_gone(None)
        end.write(ESTABLISHED)
        await self._carry(end, stream, target, traffic, head.early, from_peer)

    async def _read_head(self, end: TcpEnd) -> ConnectHead:
        reader = RequestReader()
        try:
            async with asyncio.timeout(self._head_timeout):
                while data := await end.receive():
                    head = reader.feed(data)
                    if head is not None:
                        return head
        except TimeoutError as error:
            limit = f"{self._head_timeout:g} s"
            raise BadHead(400, f"no complete CONNECT came within {limit}") from error
        finally:
            self._without_head.pop(end, None)
        raise BadHead(400, "the connection ended before a complete CONNECT")

    async def _reach(self, head: ConnectHead) -> tuple[Target, ByteStream, bytes]:
        """What is asked for, its stream, and the first bytes of what it leads to.

        Raises DeadlineExceeded, saying what hung.
        """
        limit = asyncio.timeout(self._deadline)
        awaited = "the look-up of the address"
        try:
            async with limit:
                target = await self._target(head)
                awaited = f"a connection to {target.node_id}"
                connection = await reach(self._dials, target)
                awaited = f"an answer of {target.node_id}, which is connected"
                return target, *await open_tunnel(connection, target)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(f"timed out after {self._deadline:g} s: {awaited}") from error

    async def _target(self, head: ConnectHead) -> Target:
        self._credentials.check(head.credentials)
        return await locate(parse_target(head.target), self._resolve)

    async def _carry(
        self,
        end: TcpEnd,
        stream: ByteStream,
        target: Target,
        traffic: Traffic,
        to_peer: bytes,
        from_peer: bytes,
    ) -> None:
        client = socket_address(end.transport.get_extra_info("peername"))
        service = target.port if target.builtin is None else target.builtin
        with self.audit.running(stream, target.node_id, service, client, traffic, end):
            error = await pipe(
                end, stream, traffic, to_peer=to_peer, from_peer=from_peer, hold=self._hold
            )
        if error is not None:
            logger.info("connection to %s broke off: %s", target.node_id.short, error)

    async def _refuse(self, end: TcpEnd, status: int, reason: str) -> None:
        logger.info("CONNECT refused: %d %s", status, reason)
        end.when_gone(None)
        end.write(refusal(status, reason))
        await end.finish(self._linger)


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
