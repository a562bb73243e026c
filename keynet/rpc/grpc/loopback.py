"""Leads peers' streams to the gRPC server's own port, and remembers who is behind each.

grpcio makes its own sockets and takes no stream of ours: so every stream of a peer becomes one
connection within this machine, as with any exposed service.
"""

from __future__ import annotations

import logging

from keynet.address import Authority
from keynet.rpc.api import ByteStream
from keynet.rpc.grpc.names import NAME
from keynet.rpc.proxy.audit import Audit, socket_address
from keynet.rpc.proxy.pipe import Traffic, pipe
from keynet.rpc.proxy.tcp import connect, receive_buffer

log = logging.getLogger(__name__)


class Loopback:
    """The way from peers' streams to one server."""

    def __init__(self, server: Authority, audit: Audit) -> None:
        """`audit` lists the connections while they run."""
        self._server = server
        self._audit = audit
        self._buffer = receive_buffer()

    async def serve(self, stream: ByteStream, early: bytes) -> None:
        """Carry one stream until it has ended. An `api.StreamHandler`; cancelling breaks it off."""
        peer = stream.connection.peer.node_id
        try:
            end = await connect(self._server, self._buffer)
        except OSError as error:
            log.warning("gRPC: cannot connect to this node's own server: %s", error)
            stream.reset()
            return
        client, traffic = socket_address(end.transport.get_extra_info("sockname")), Traffic()
        try:
            with self._audit.running(stream, peer, NAME, client, traffic, end):
                broken = await pipe(end, stream, traffic, from_peer=early)
        except BaseException:
            end.abort()
            raise
        if broken is not None:
            log.info("gRPC: a connection of %s broke off: %s", peer.short, broken)
