"""Calls of service definitions to one peer: grpc.aio behind `api.Channel`.

One grpcio channel carries all calls while its connection holds. grpcio redials a peer that it did
not reach, for ever and ever more rarely, and has calls fail meanwhile without a try: so a channel
that did not reach the peer is given up, and the next call makes a new one.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from keynet.address import NODE_DOMAIN, Authority, NodeId
from keynet.errors import KeynetError, RpcError
from keynet.rpc.api import ClientCall, Request
from keynet.rpc.grpc.channel import through_proxy
from keynet.rpc.grpc.client_call import GrpcCall, make_call
from keynet.rpc.grpc.codec import encode
from keynet.rpc.grpc.metadata import MAX_HEADERS
from keynet.rpc.grpc.names import FLOW, KEEPALIVE, MAX_CALLS, NAME
from keynet.rpc.grpc.status import from_grpc, from_misuse
from keynet.rpc.proxy.api import ONLY_SERVICE, ProxiedNetwork
from keynet.rpc.status import Status, from_network, rpc_error

RECONNECT_AFTER = 100
"""Milliseconds between two dials at least: after a loss, the next call is not to wait longer."""


class GrpcChannel:
    """All calls of this node to one peer."""

    def __init__(self, network: ProxiedNetwork, node_id: NodeId, max_message_size: int) -> None:
        """`max_message_size` holds in bytes for every request, item and result."""
        self._network = network
        self._node_id = node_id
        self._limit = max_message_size
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_CALLS)
        self._line: _Line | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self, request: Request) -> ClientCall:
        """Begin a call; see `api.Channel`. Unless the client streams, nothing is awaited here but
        the proxy: the first item or the result tells that the peer was not reached."""
        params = encode(request.params, self._limit, "parameters")
        await self._room.acquire()
        try:
            call = self._made(await self._usable_line(), request, params)
        except BaseException:
            self._room.release()
            raise
        try:
            await call.begin(params)
        except BaseException:
            call.cancel()
            raise
        return call

    async def aclose(self) -> None:
        """End: calls that run fail with CANCELLED. Idempotent."""
        self._closed = True
        line, self._line = self._line, None
        if line is not None:
            self._end(line)
        await asyncio.gather(*self._ending)

    def _made(self, line: _Line, request: Request, params: bytes) -> GrpcCall:
        try:
            made = make_call(line.channel, request, params)
        except (TypeError, ValueError) as error:
            raise from_misuse(error) from error
        call = GrpcCall(made, request.method, self._limit, self._fault)
        line.calls.add(call)
        call.when_done(lambda: self._ended(line, call))
        return call

    async def _usable_line(self) -> _Line:
        """The channel in use, or a new one. Raises RpcError."""
        async with self._opening:
            if self._closed:
                raise rpc_error(Status.CANCELLED, "this channel is closed")
            if self._line is not None and self._line.failing:
                self._give_up(self._line)
            if self._line is None:
                self._line = _Line(await self._dialed())
            return self._line

    async def _dialed(self) -> grpc.aio.Channel:
        try:
            proxy = await self._network.proxy()
        except KeynetError as error:
            raise from_network(error) from error
        host = f"{NAME}.{self._node_id}.{NODE_DOMAIN}"
        target, settings = through_proxy(proxy.address, proxy.token, Authority(host, ONLY_SERVICE))
        settings |= {
            "grpc.use_local_subchannel_pool": 1,
            "grpc.initial_reconnect_backoff_ms": RECONNECT_AFTER,
            "grpc.max_receive_message_length": self._limit,
            "grpc.max_send_message_length": self._limit,
            "grpc.max_metadata_size": MAX_HEADERS,
            "grpc.absolute_max_metadata_size": MAX_HEADERS,
            **dict(KEEPALIVE + FLOW),
        }
        return grpc.aio.insecure_channel(target, list(settings.items()))

    def _ended(self, line: _Line, call: GrpcCall) -> None:
        line.calls.discard(call)
        self._room.release()
        if line is self._line and line.failing:
            self._give_up(line)
        elif line is not self._line and not line.calls:
            self._end(line)

    def _give_up(self, line: _Line) -> None:
        """Make no more calls on it; those that it has see for themselves how they end."""
        self._line = None
        if not line.calls:
            self._end(line)

    def _end(self, line: _Line) -> None:
        if not line.ended:
            line.ended = True
            task = asyncio.ensure_future(line.aclose())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _fault(self, error: grpc.aio.AioRpcError) -> RpcError:
        return from_grpc(error, self._network.why(self._node_id))


class _Line:
    """One of grpcio's channels, and the calls on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls: set[GrpcCall] = set()
        self.ended = False

    @property
    def failing(self) -> bool:
        """Whether its last try to reach the peer failed."""
        return self.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def aclose(self) -> None:
        for call in tuple(self.calls):
            call.cancel()
        await self.channel.close()
