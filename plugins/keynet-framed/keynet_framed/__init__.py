"""A sample RPC binding for keynet: one stream for each call. See README.md.

Here is only what the entry point names: `binding()` and the object that it returns.
"""

from __future__ import annotations

from dataclasses import dataclass

from keynet.address import NodeId
from keynet.rpc.api import MAX_MESSAGE_SIZE, Dispatch, Network
from keynet_framed.channel import Channel
from keynet_framed.server import Server


@dataclass(frozen=True, slots=True)
class FramedBinding:
    """Makes servers and channels; keeps nothing itself."""

    max_message_size: int = MAX_MESSAGE_SIZE
    """Bytes of one message that a caller sends or takes."""
    name: str = "framed"

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        server = Server(self.name, network, dispatch)
        server.start()
        return server

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        return Channel(self.name, network, node_id, self.max_message_size)


def binding(*, max_message_size: int = MAX_MESSAGE_SIZE) -> FramedBinding:
    """The factory that the entry point `keynet.rpc: framed` names."""
    return FramedBinding(max_message_size)
