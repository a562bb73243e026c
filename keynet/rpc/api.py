"""The RPC layer's contract: what a binding is given, what it must give, and the values between.

A **binding** (`jsonrpc`, `grpc`, a plugin) carries calls over byte streams. It encodes, multiplexes
and cancels; everything that must be the same in all of them stands beside it and is written once:
`service.py` reads definitions, `dispatch.py` runs what peers call (access, limits, deadlines,
interceptors, errors), `client.py` is what callers hold. Nothing here does any work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from keynet.address import NodeId, SocketAddress
from keynet.engine import Buffer
from keynet.errors import KeynetError
from keynet.identity import PeerIdentity
from keynet.rpc.method import Kind, Method

GROUP = "keynet.rpc"
"""The entry-point group of bindings."""

Metadata = tuple[tuple[str, str], ...]
"""Keys are lower-case ASCII (`[a-z0-9_.-]+`), not HTTP's or gRPC's own; values are printable ASCII
with no space at either end. At most MAX_METADATA bytes in all. Keys may repeat, and a
key's values keep their order. `metadata.py` checks them."""

MAX_METADATA = 8192

UNARY_TIMEOUT = 15.0
"""Seconds that a unary call has when its caller says nothing; streams then have no limit."""

MAX_MESSAGE_SIZE = 4 << 20
"""Bytes of one encoded message, by default; more ends the call with RESOURCE_EXHAUSTED."""


# What the layers below give.


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


StreamHandler = Callable[[ByteStream, bytes], Awaitable[None]]
"""Serves one stream that a peer opened to a protocol, and the bytes already read of it. Returns
when it has ended; the stream is reset afterwards, which is harmless after a clean end."""


class Network(Protocol):
    """What a node gives to a binding: streams to and from peers, by protocol name."""

    @property
    def node_id(self) -> NodeId:
        """This node's current id."""

    async def open_stream(self, node_id: NodeId, protocol: str) -> ByteStream:
        """A new stream to that peer's built-in `protocol`, ready for its first bytes.

        Raises what finding, dialling or asking the peer raises (ProxyRefused, LookupFailed,
        ConnectError, IdentityError, ClosedError, DeadlineExceeded). Cancellable.
        """

    def serve_protocol(self, protocol: str, handler: StreamHandler | None) -> None:
        """Hand peers' streams to `protocol` to `handler`, from now on; None refuses them again."""


# Serving.


@dataclass(slots=True, eq=False)
class Call:
    """One call under way at the serving end. A handler that has a parameter of this type gets it.

    Peer and certificates are proved by the transport, never taken from metadata.
    """

    method: Method[..., Any]
    peer: PeerIdentity
    metadata: Metadata
    """What the caller sent along."""
    deadline: float | None
    """Absolute, in the event loop's time; None for no limit."""
    binding: str
    """The name of the binding that carries the call."""
    reply_metadata: list[tuple[str, str]] = field(default_factory=list)
    """Add to it: it reaches the caller with the end of the call, also of one that failed."""

    def remaining(self, now: float) -> float | None:
        """Seconds left at loop time `now` (never below zero), or None for no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - now)


Send = Callable[[Any], Awaitable[None]]
"""Takes the next item of a server's stream; returns when there is room for another."""


@dataclass(slots=True, eq=False)
class Exchange:
    """What passes in one served call; an interceptor may look at it and replace parts of it."""

    call: Call
    params: Any
    """The method's `params` struct, decoded and checked."""
    requests: AsyncIterator[Any] | None
    """The client's items, when it streams."""
    send: Send | None
    """Takes the server's items, when it streams."""


Proceed = Callable[[Exchange], Awaitable[Any]]
"""Runs the rest of the chain and the method: gives the result, None of a server's stream."""

ServerInterceptor = Callable[[Exchange, Proceed], Awaitable[Any]]
"""Around every served call, outermost first: `return await proceed(exchange)`. Raises RpcError to
refuse."""


class Dispatch(Protocol):
    """The serving half that all bindings share; `keynet.rpc.dispatch` implements it."""

    @property
    def max_message_size(self) -> int:
        """Bytes of one encoded message that a binding takes before it refuses."""

    def open_to(self, peer: PeerIdentity) -> list[Method[..., Any]]:
        """The methods that `peer` may call, of all services."""

    def admit(
        self,
        name: str,
        peer: PeerIdentity,
        *,
        binding: str,
        kind: Kind | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AbstractContextManager[Call]:
        """A slot for a call of method `name` (`service.method`), held as long as the context.

        `kind` is what the caller takes the method for, None when it does not say; `timeout` is
        the caller's, in seconds from now. Entering raises RpcError: UNIMPLEMENTED,
        PERMISSION_DENIED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, or UNAVAILABLE while shutting
        down. Who may call nothing at all learns of no method.
        """

    def is_open(self, name: str, peer: PeerIdentity) -> bool:
        """Whether `admit_foreign` lets `peer` in to that method."""

    def admit_foreign(
        self, name: str, peer: PeerIdentity, *, binding: str
    ) -> AbstractContextManager[Call]:
        """As `admit`, for a method that the binding serves by itself (a protobuf servicer, say).

        Access rules and limits hold; it is open to nobody by default. Nothing is to be `run`,
        and the binding sees to deadlines.
        """

    async def run(
        self,
        call: Call,
        params: Any,
        requests: AsyncIterator[Any] | None = None,
        send: Send | None = None,
    ) -> Any:
        """Run an admitted call: interceptors, deadline, the function. Raises RpcError alone.

        `params` is the decoded struct. Streams `send` items as the method gives them; returns
        the result of a method that streams none. Cancel it when the caller cancels or is gone.
        """

    async def drain(self, binding: str, grace: float = ...) -> None:
        """For a server's end: admit no calls of `binding` meanwhile (UNAVAILABLE), give those
        that run `grace` seconds, then have them end with UNAVAILABLE. Cancellable."""


class Server(Protocol):
    """A binding's serving side, running."""

    async def aclose(self, grace: float = 5.0) -> None:
        """Take no new call, give those that run `grace` seconds, then cancel them. Idempotent."""


# Calling.


@dataclass(slots=True)
class Request:
    """A call about to be made; a client's interceptor may change it."""

    method: Method[..., Any]
    params: Any
    """The method's params struct, or a dict for an untyped method."""
    metadata: Metadata = ()
    timeout: float | None = None
    """Seconds, sent along; the caller enforces it here as well."""


class ClientCall(Protocol):
    """A call under way at the calling end. One task sends, one receives."""

    @property
    def reply_metadata(self) -> Metadata:
        """What came with the end of the call; empty before."""

    async def send(self, item: Any) -> None:
        """Stream one item, once there is room for it. Cancellable: it is sent whole or not.

        Returns in silence when the call is over already: `receive` or `result` tell how it ended.
        """

    async def finish_sending(self) -> None:
        """No more items. Idempotent."""

    async def receive(self) -> Any:
        """The server's next item, decoded. Raises StopAsyncIteration at the end, or RpcError.
        Cancellable without losing an item."""

    async def result(self) -> Any:
        """The decoded result of a method whose server does not stream. Raises RpcError."""

    def cancel(self) -> None:
        """Tell the peer to stop, and end with CANCELLED. Idempotent; harmless after the end."""


class Channel(Protocol):
    """A binding's way to one peer. Makes itself a connection when a call needs one."""

    async def start(self, request: Request) -> ClientCall:
        """Begin a call; call `cancel` on what you do not see to its end.

        Raises RpcError: UNAVAILABLE with the reason when the peer is not reached,
        RESOURCE_EXHAUSTED for a message too large. Cancellable.
        """

    async def aclose(self) -> None:
        """End: calls that run fail with CANCELLED. Idempotent."""


Start = Callable[[Request], Awaitable[ClientCall]]
"""Runs the rest of the chain and begins the call."""

ClientInterceptor = Callable[[Request, Start], Awaitable[ClientCall]]
"""Around every call that is made: `return await start(request)`, changed or wrapped."""


@runtime_checkable
class Binding(Protocol):
    """A way to carry calls between nodes."""

    @property
    def name(self) -> str:
        """Short; what a user types after --rpc. Also its protocol's reserved name."""

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        """Begin to serve peers' calls with `dispatch`."""

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        """A channel to that peer. Dials nothing yet."""
