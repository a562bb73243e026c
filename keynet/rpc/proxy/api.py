"""What the proxies ask of the layers below, and the values that pass between them.

`node.py` injects what fulfils the protocols; nothing here does any work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keynet.address import NodeId, SocketAddress
from keynet.engine import Buffer
from keynet.errors import KeynetError
from keynet.identity import PeerIdentity

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


class ByteConnection(Protocol):
    """A secure connection to one peer."""

    @property
    def peer(self) -> PeerIdentity:
        """Who the peer has proved to be."""

    @property
    def transport(self) -> str:
        """The transport's name."""

    @property
    def remote(self) -> SocketAddress:
        """The peer's UDP address now."""

    @property
    def local(self) -> SocketAddress | None:
        """This side's UDP address, when it is known."""

    async def open_stream(self) -> ByteStream:
        """A new stream. Raises a KeynetError when there cannot be one."""


class ByteStream(Protocol):
    """A reliable byte stream with half-close. Once it is broken, methods raise what broke it."""

    @property
    def connection(self) -> ByteConnection: ...

    @property
    def buffered(self) -> int:
        """Bytes written that wait for room. Growing without a bound, unless one awaits `drain`."""

    @property
    def error(self) -> KeynetError | None:
        """What broke it; None while it lives, and after a clean end."""

    async def read(self, max_bytes: int = ...) -> bytes:
        """The next bytes; b"" at the peer's clean end."""

    def write(self, data: Buffer) -> None:
        """Send, or buffer, all of `data`. Keeps no reference to it: callers reuse their buffer."""

    async def drain(self) -> None:
        """Wait until nothing that was written waits for room."""

    def write_eof(self) -> None:
        """End this side's bytes; reading goes on. Idempotent."""

    def reset(self) -> None:
        """Drop the stream at once, both ways. Idempotent; whoever waits gets LocallyClosed."""

    async def aclose(self) -> None:
        """End cleanly, waiting a short time for what is still under way. Idempotent."""

    async def wait_closed(self) -> None:
        """Wait until both directions have ended and arrived, or the stream is broken."""


class Dialer(Protocol):
    """Finds, punches and secures the way to a peer. May be called again for the same peer."""

    async def connect(self, target: Target) -> ByteConnection:
        """A live connection to `target.node_id`, by `target.address` if that is given.

        `target.port` means nothing here. Cancellable at any time. Raises LookupFailed,
        ConnectError, IdentityError, ClosedError or DeadlineExceeded.
        """


Resolver = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]
"""Finds the UDP addresses of a host name, best first. Raises LookupFailed or OSError."""
