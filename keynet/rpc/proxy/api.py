"""What the proxies ask of the layers below, and the values that pass between them.

`node.py` injects what fulfils the protocols; nothing here does any work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from keynet.address import NodeId, SocketAddress
from keynet.config.values import LocalAddress
from keynet.rpc.api import ByteConnection, Network

ONLY_SERVICE = 0
"""The port that names a node's only exposed service, in `<nodeid>.keynet:0`."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a client wants to reach."""

    node_id: NodeId
    """The peer's id, current or earlier."""
    address: SocketAddress | None = None
    """The peer's UDP address, when the client named it outright."""
    port: int | None = None
    """The peer's service; None for its only exposed one, and for a built-in protocol."""
    builtin: str | None = None
    """A protocol that is built into the peer, such as `jsonrpc`; it has no port."""


class Dialer(Protocol):
    """Finds, punches and secures the way to a peer. May be called again for the same peer."""

    async def connect(self, target: Target) -> ByteConnection:
        """A live connection to `target.node_id`, by `target.address` if that is given.

        `target.port` means nothing here. Cancellable at any time. Raises LookupFailed,
        ConnectError, IdentityError, ClosedError or DeadlineExceeded.
        """


Resolver = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]
"""Finds the UDP addresses of a host name, best first. Raises LookupFailed or OSError."""


@dataclass(frozen=True, slots=True)
class ProxyAccess:
    """Where a forward proxy listens, and what it must be shown."""

    address: LocalAddress
    token: str | None = field(repr=False)
    """None where none is asked for."""


@runtime_checkable
class ProxiedNetwork(Network, Protocol):
    """A network for bindings whose library makes its own sockets, and so needs a proxy."""

    async def proxy(self) -> ProxyAccess:
        """A forward proxy for this process alone, opened at the first call.

        `CONNECT <name>.<nodeid>.keynet:0` leads to a peer's built-in protocol. Raises ConfigError
        when it cannot listen, ClosedError when the node is closed.
        """

    def why(self, node_id: NodeId) -> str | None:
        """The latest reason why that peer could not be reached, or was lost, since the last
        connection to it; None when there is none. What a library's own error does not tell.
        """
