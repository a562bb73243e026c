"""What the proxies ask of the layers below, and the values that pass between them.

`node.py` injects what fulfils the protocols; nothing here does any work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keynet.address import NodeId, SocketAddress
from keynet.rpc.api import ByteConnection

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
    """The peer's service; None for its only exposed one."""


class Dialer(Protocol):
    """Finds, punches and secures the way to a peer. May be called again for the same peer."""

    async def connect(self, target: Target) -> ByteConnection:
        """A live connection to `target.node_id`, by `target.address` if that is given.

        `target.port` means nothing here. Cancellable at any time. Raises LookupFailed,
        ConnectError, IdentityError, ClosedError or DeadlineExceeded.
        """


Resolver = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]
"""Finds the UDP addresses of a host name, best first. Raises LookupFailed or OSError."""
