"""The RPC of one node: the methods that it serves, the bindings that carry calls, its clients.

What a call means is the dispatcher's affair (`keynet.rpc.dispatch`), how it is carried a binding's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from keynet import plugins
from keynet.address import NodeId
from keynet.config import Config
from keynet.errors import ConfigError
from keynet.node.channels import Channels
from keynet.node.network import NodeNetwork
from keynet.rpc.api import GROUP, Binding, ClientInterceptor, Server
from keynet.rpc.client import Client
from keynet.rpc.dispatch import Dispatcher

BUILT_IN_BINDING = "jsonrpc"
"""Always there beside the binding that was chosen, for signalling and `keynet call`."""

log = logging.getLogger(__name__)


class Rpc:
    """What a node serves and calls with. `start` it once the network is there."""

    def __init__(
        self, network: NodeNetwork, dispatcher: Dispatcher, bindings: Sequence[Binding]
    ) -> None:
        """The first binding is the one that clients use when they name none."""
        self.bindings = {binding.name: binding for binding in bindings}
        self.servers: dict[str, Any] = {}
        """What each binding's `serve` gave, by name; a binding may offer more there."""
        self._default = bindings[0].name
        self._network = network
        self._dispatcher = dispatcher
        self._channels = Channels(network, self.bindings)

    async def start(self) -> None:
        """Serve peers over every binding. Raises what a binding raises; `aclose` in any case."""
        for name, binding in self.bindings.items():
            self.servers[name] = await binding.serve(self._network, self._dispatcher)

    def client(
        self,
        node_id: NodeId,
        binding: str | None = None,
        *,
        interceptors: Sequence[ClientInterceptor] = (),
    ) -> Client:
        """Calls to one peer, over the channel that all such clients share. Dials nothing yet.

        Raises ConfigError for a binding that this node does not run.
        """
        name = self._default if binding is None else binding
        if name not in self.bindings:
            raise ConfigError(
                f"this node runs no RPC binding {name!r}, but {', '.join(self.bindings)}: "
                "choose it with --rpc"
            )
        return Client(self._channels.shared(node_id, name), interceptors=interceptors)

    async def aclose(self, grace: float) -> None:
        """Give peers' running calls `grace` seconds, refuse new ones, end this node's own calls."""
        servers: list[Server] = list(self.servers.values())
        try:
            closing = (server.aclose(grace) for server in servers)
            for result in await asyncio.gather(*closing, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("an RPC binding failed to close", exc_info=result)
            await self._dispatcher.aclose(0)
        finally:
            await self._channels.aclose()


def bindings_of(config: Config) -> list[Binding]:
    """The chosen binding first, the built-in one beside it. Raises ConfigError or PluginError."""
    chosen: Binding = plugins.create(GROUP, config.rpc, Binding, **dict(config.rpc_option))
    if config.rpc == BUILT_IN_BINDING:
        return [chosen]
    return [chosen, plugins.create(GROUP, BUILT_IN_BINDING, Binding)]
