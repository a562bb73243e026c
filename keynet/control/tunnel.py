"""A stream to a peer's built-in protocol through the running node, for programs beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography import x509

from keynet.address import NodeId
from keynet.control.lines import Lines
from keynet.control.place import find, not_running
from keynet.control.protocol import VERSION, Request, encode, read_answer
from keynet.errors import ConnectError, DeadlineExceeded
from keynet.identity import verify_chain
from keynet.rpc.proxy.local_stream import HELD, LocalConnection, LocalStream
from keynet.rpc.proxy.tcp import connect, receive_buffer

VERB = "tunnel"
TIMEOUT = 20.0
"""Seconds for the node to connect the peer; its own deadline for that is shorter by default."""


async def open_tunnel(state: Path, node_id: NodeId, protocol: str) -> LocalStream:
    """A stream to that peer's `protocol`, by way of the node that runs with `state`.

    Raises ConnectError when none is running, DeadlineExceeded after TIMEOUT, RpcError when the
    peer is not reached or refuses. Cancellable.
    """
    place = find(state)
    try:
        end = await connect(place.address, receive_buffer(), HELD)
    except OSError as error:
        raise not_running(state) from error
    params = {"node_id": str(node_id), "protocol": protocol}
    end.write(encode(Request(VERSION, VERB, params, place.token)))
    lines = Lines(end)
    try:
        async with asyncio.timeout(TIMEOUT):
            line = await lines.next()
        if not line:
            raise ConnectError("the node broke off its answer: is it shutting down?")
        chain = x509.load_pem_x509_certificates(read_answer(line)["certificates"].encode("ascii"))
        return LocalStream(LocalConnection(verify_chain(chain, None)), end, lines.rest())
    except TimeoutError as error:
        end.abort()
        raise DeadlineExceeded(f"the node has not connected {node_id} in {TIMEOUT:g} s") from error
    except BaseException:
        end.abort()
        raise
