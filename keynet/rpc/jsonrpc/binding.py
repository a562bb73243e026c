"""What the entry point `jsonrpc` of the group `keynet.rpc` gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from keynet.address import NodeId
from keynet.rpc.api import Dispatch, Network
from keynet.rpc.jsonrpc.channel import Channel
from keynet.rpc.jsonrpc.running import NAME
from keynet.rpc.jsonrpc.server import Server
from keynet.rpc.jsonrpc.session.settings import DEFAULT, Settings


@dataclass(frozen=True, slots=True)
class Binding:
    """Streaming JSON-RPC 2.0 over a transport's streams, as a `keynet.rpc.api.Binding`."""

    settings: Settings = DEFAULT
    name: str = NAME

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        """Begin to serve peers' calls with `dispatch`."""
        server = Server(network, dispatch, self.settings)
        server.open()
        return server

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        """A channel to that peer. Dials nothing yet."""
        return Channel(partial(network.open_stream, node_id, self.name), self.settings)


def binding(
    max_message_size: int = DEFAULT.max_message_size,
    window: int = DEFAULT.window,
    budget: int = DEFAULT.budget,
    max_calls: int = DEFAULT.max_calls,
) -> Binding:
    """The factory behind the entry point; its parameters are `Settings`. Raises ConfigError."""
    return Binding(Settings(max_message_size, window, budget, max_calls))
