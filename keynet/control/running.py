"""A node that runs in another process, as programs on its machine see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keynet.address import NodeId, SocketAddress
from keynet.config.values import LocalAddress, local_address
from keynet.control.client import call
from keynet.state import state_dir


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What is needed to reach peers through it: `keynet.rpc.grpc.channel(running_node(), …)`."""

    node_id: NodeId
    udp: tuple[SocketAddress, ...]
    """Where its sockets are bound."""
    proxy: LocalAddress | None
    """Where its forward proxy listens; None without one."""
    proxy_token: str | None = field(repr=False)
    """What the proxy's clients must show; None when they need not."""


def running_node(state: str | Path | None = None) -> RunningNode:
    """The node that runs with that state directory ($KEYNET_STATE or the platform's by default).

    Blocks until it answers. Raises ConnectError when none is running, else as `call` does.
    """
    status = call(state_dir(state), "status")
    return RunningNode(
        node_id=NodeId.parse(status["node_id"]),
        udp=tuple(SocketAddress.parse(text) for text in status["udp"]),
        proxy=local_address(status["proxy"]) if status["proxy"] is not None else None,
        proxy_token=status["proxy_token"],
    )
