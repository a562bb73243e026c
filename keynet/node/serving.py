"""Serving what peers open: one task a connection, one task a stream, both bounded.

Every connection is served, also those that this side dialled: either side may open streams. What
is done with a stream is the reverse proxy's affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from keynet.address import NodeId
from keynet.errors import KeynetError, LocallyClosed
from keynet.node.events import (
    ConnectionLost,
    ConnectionOpened,
    NodeEvent,
    StreamRefused,
    StreamServed,
)
from keynet.rpc.proxy.reverse import Outcome

if TYPE_CHECKING:
    from keynet.transport.connection import Connection
    from keynet.transport.stream import Stream

MAX_STREAMS = 4096
"""Streams served at a time, over all connections. The reverse proxy's own limits, which tell the
peer why, are lower: these hold against one that opens streams faster than it reads refusals."""
MAX_STREAMS_PER_PEER = 2048

log = logging.getLogger(__name__)


class Serving:
    """The connections of a node and the streams that peers have opened on them."""

    def __init__(
        self,
        serve: Callable[[Stream, Outcome], Awaitable[None]],
        publish: Callable[[NodeEvent], None],
        *,
        max_streams: int = MAX_STREAMS,
        max_streams_per_peer: int = MAX_STREAMS_PER_PEER,
    ) -> None:
        self._serve = serve
        self._publish = publish
        self._max_streams = max_streams
        self._max_streams_per_peer = max_streams_per_peer
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._streams: dict[Connection, set[asyncio.Task[None]]] = {}
        self._total = 0

    def adopt(self, connection: Connection) -> None:
        """Serve `connection`, whose peer has proved its id, until it ends."""
        if connection in self._connections:
            return
        peer = connection.peer.node_id
        self._streams[connection] = set()
        task = asyncio.create_task(self._attend(connection), name=f"serve {peer.short}")
        self._connections[connection] = task
        self._publish(_opened(connection))

    @property
    def streams(self) -> int:
        """How many streams are being served now."""
        return self._total

    async def aclose(self) -> None:
        """Stop serving; the connections stay open for their owner to close. Idempotent."""
        tasks = list(self._connections.values())
        for streams in self._streams.values():
            tasks += streams
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, connection: Connection) -> None:
        reason: str | None = None
        try:
            while True:
                self._accepted(connection, await connection.accept_stream())
        except LocallyClosed:
            reason = None
        except KeynetError as error:
            reason = str(error)
        finally:
            del self._connections[connection]
            if not self._streams[connection]:
                del self._streams[connection]
            self._publish(ConnectionLost(connection.peer.node_id, reason))

    def _accepted(self, connection: Connection, stream: Stream) -> None:
        streams = self._streams[connection]
        if len(streams) >= self._max_streams_per_peer or self._total >= self._max_streams:
            stream.reset()
            self._publish(
                StreamRefused(connection.peer.node_id, None, None, "too many streams at a time")
            )
            return
        self._total += 1
        task = asyncio.create_task(self._one(connection, stream))
        streams.add(task)
        task.add_done_callback(lambda done: self._finished(connection, done))

    async def _one(self, connection: Connection, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        outcome = Outcome()
        try:
            await self._serve(stream, outcome)
        except KeynetError as error:
            log.info("a stream of %s ended early: %s", connection.peer.node_id.short, error)
        except Exception:
            log.exception("serving a stream of %s failed", connection.peer.node_id.short)
        finally:
            stream.reset()  # harmless after a clean end
            self._publish(_ended(connection.peer.node_id, outcome, loop.time() - started_at))

    def _finished(self, connection: Connection, task: asyncio.Task[None]) -> None:
        self._total -= 1
        streams = self._streams[connection]
        streams.discard(task)
        if not streams and connection not in self._connections:
            del self._streams[connection]


def _ended(peer: NodeId, outcome: Outcome, seconds: float) -> StreamServed | StreamRefused:
    service, protocol, reason = outcome.service, outcome.protocol, outcome.reason
    if outcome.status != 200:
        why = reason or "it was broken off here"
        return StreamRefused(peer, service, outcome.status, why, protocol)
    up, down = outcome.traffic.from_peer, outcome.traffic.to_peer
    return StreamServed(peer, service, seconds, up, down, reason, protocol)


def _opened(connection: Connection) -> ConnectionOpened:
    proved_at = connection.established_at
    took = proved_at - connection.opened_at if connection.dialed and proved_at else None
    return ConnectionOpened(
        connection.peer.node_id,
        connection.transport,
        connection.remote,
        connection.dialed,
        took,
    )
