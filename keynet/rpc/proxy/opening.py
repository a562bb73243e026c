"""Asking a connected peer for one of its services, or for a protocol built into it.

How the peer is found and connected is the dialer's; what a client may ask for is in `target.py`.
"""

from __future__ import annotations

from keynet.errors import UnclaimedNodeId
from keynet.rpc.api import ByteConnection, ByteStream
from keynet.rpc.proxy.api import Dialer, Target
from keynet.rpc.proxy.head import AnswerReader, BadHead
from keynet.rpc.proxy.status import check_answer
from keynet.rpc.proxy.target import wire_authority

_READ = 16384


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


async def _ask(stream: ByteStream, authority: str) -> bytes:
    reader = AnswerReader(authority)
    stream.write(reader.request)
    while data := await stream.read(_READ):
        answer = reader.feed(data)
        if answer is not None:
            check_answer(answer)
            return answer.early
    raise BadHead(502, "the peer's proxy broke off before it answered")
