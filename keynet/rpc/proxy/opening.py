"""Asking a connected peer for one of its services, or for a protocol built into it.

How the peer is found and connected is the dialer's; what a client may ask for is in `target.py`.
"""

from __future__ import annotations

from keynet.errors import KeynetError, UnclaimedNodeId
from keynet.rpc.api import ByteConnection, ByteStream
from keynet.rpc.proxy.api import Dialer, Target
from keynet.rpc.proxy.head import AnswerReader, BadHead
from keynet.rpc.proxy.status import check_answer
from keynet.rpc.proxy.target import wire_authority

READ = 16384
"""Bytes read at a time while heads are awaited, and by default."""


async def reach(dialer: Dialer, target: Target) -> ByteConnection:
    """The dialer's connection, which must be to the node that was asked for.

    Raises what the dialer raises, and UnclaimedNodeId. Cancellable.
    """
    connection = await dialer.connect(target)
    if not connection.peer.matches(target.node_id):
        raise UnclaimedNodeId(f"reached {connection.peer.node_id}, not {target.node_id}")
    return connection


async def open_tunnel(connection: ByteConnection, target: Target) -> tuple[ByteStream, bytes]:
    """A stream to the target's service, and the service's first bytes, if it has spoken.

    Raises ProxyRefused, BadHead (502: the peer does not speak CONNECT) or ClosedError.
    Cancellable: the stream is dropped then.
    """
    stream = await connection.open_stream()
    try:
        return stream, await _ask(stream, wire_authority(target))
    except BaseException:
        stream.reset()
        raise


class Preceded:
    """A stream whose first bytes came with the answer to CONNECT: they are read first."""

    def __init__(self, stream: ByteStream, early: bytes) -> None:
        self._stream = stream
        self._early = early
        self.connection = stream.connection
        self.write = stream.write
        self.drain = stream.drain
        self.write_eof = stream.write_eof
        self.reset = stream.reset
        self.aclose = stream.aclose
        self.wait_closed = stream.wait_closed

    @property
    def buffered(self) -> int:
        return self._stream.buffered

    @property
    def error(self) -> KeynetError | None:
        return self._stream.error

    async def read(self, max_bytes: int = READ) -> bytes:
        early, self._early = self._early[:max_bytes], self._early[max_bytes:]
        return early or await self._stream.read(max_bytes)


async def _ask(stream: ByteStream, authority: str) -> bytes:
    reader = AnswerReader(authority)
    stream.write(reader.request)
    while data := await stream.read(READ):
        answer = reader.feed(data)
        if answer is not None:
            check_answer(answer)
            return answer.early
    raise BadHead(502, "the peer's proxy broke off before it answered")
