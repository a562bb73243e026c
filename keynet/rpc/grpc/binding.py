"""What the entry point `grpc` of the group `keynet.rpc` gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keynet.address import NodeId
from keynet.errors import ConfigError
from keynet.identity import PeerIdentity
from keynet.rpc.api import MAX_MESSAGE_SIZE, Channel, Dispatch, Network, Server
from keynet.rpc.grpc.channel import aio_channel, channel, grpcio
from keynet.rpc.grpc.names import NAME
from keynet.rpc.grpc.peer import peer_of
from keynet.rpc.grpc.servicers import Servicers
from keynet.rpc.proxy.api import ProxiedNetwork
from keynet.rpc.proxy.audit import Audit

if TYPE_CHECKING:
    import grpc
    import grpc.aio


@dataclass(frozen=True, slots=True)
class Binding:
    """gRPC as one node's RPC. An `api.Binding`, and the ways to plain grpcio beside it."""

    name: str = NAME
    max_message_size: int = MAX_MESSAGE_SIZE
    """Bytes of one request, item or result of calls that are made; for those that are served the
    dispatch has its own."""
    servicers: Servicers = field(default_factory=Servicers)
    """Users' protobuf servicers, which peers reach as they do service definitions."""
    channel: Callable[..., grpc.Channel] = channel
    """`keynet.rpc.grpc.channel`"""
    aio_channel: Callable[..., grpc.aio.Channel] = aio_channel
    """`keynet.rpc.grpc.aio_channel`"""
    audit: Audit = field(default_factory=Audit)
    """Which peers are connected to the server."""

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        """Begin to serve peers' calls with `dispatch`, and `servicers`. Raises ConfigError."""
        grpcio()
        try:
            from keynet.rpc.grpc.server import GrpcServer
        except ImportError as error:
            raise ConfigError(f"{error}: pip install 'keynet[grpc]'") from error
        server = GrpcServer(network, dispatch, self.servicers, self.audit)
        await server.start()
        return server

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        """A channel to that peer. Dials nothing yet. Raises ConfigError."""
        grpcio()
        from keynet.rpc.grpc.calling import GrpcChannel

        if not isinstance(network, ProxiedNetwork):
            raise ConfigError("gRPC leaves a node through a proxy, and this network has none")
        return GrpcChannel(network, node_id, self.max_message_size)

    def peer_of(self, context: grpc.aio.ServicerContext) -> PeerIdentity | None:
        """Who makes the call that a protobuf servicer handles; None when it has ended meanwhile."""
        return peer_of(self.audit, context.peer())


def binding(max_message_size: int = MAX_MESSAGE_SIZE) -> Binding:
    """The factory behind the entry point. grpcio is not imported before it is needed.

    `max_message_size` is in bytes. Raises ConfigError.
    """
    if max_message_size < 1:
        raise ConfigError(f"a message has at least one byte, not {max_message_size}")
    return Binding(max_message_size=max_message_size)
