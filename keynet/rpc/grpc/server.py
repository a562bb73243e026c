"""A node's gRPC server: grpc.aio on a port of this machine that only peers' streams lead to."""

from __future__ import annotations

import grpc
import grpc.aio

from keynet.address import Authority
from keynet.errors import ConfigError
from keynet.rpc.api import Dispatch, Network
from keynet.rpc.dispatch import GRACE
from keynet.rpc.grpc.described import Described
from keynet.rpc.grpc.gate import Gate
from keynet.rpc.grpc.loopback import Loopback
from keynet.rpc.grpc.metadata import MAX_HEADERS
from keynet.rpc.grpc.names import FLOW, KEEPALIVE, MAX_CALLS, MIN_PING_INTERVAL, NAME
from keynet.rpc.grpc.servicers import Servicers, method_name
from keynet.rpc.grpc.serving import Serving
from keynet.rpc.proxy.audit import Audit

HOST = "127.0.0.1"

MAX_STREAMS = 4 * MAX_CALLS
"""Calls of one connection that grpcio takes on, or refuses as UNAVAILABLE. It counts those that
have just ended: so it is more than a channel makes at once."""

MAX_PENDING = 4 * MAX_STREAMS
"""Calls of all peers that have not met the dispatch yet; grpcio ends those beyond as CANCELLED."""

STOP_TIMEOUT = 1.0
"""Seconds for what grpcio itself still has to say when all calls have ended."""


class GrpcServer:
    """Serves peers' calls of service definitions, and users' protobuf servicers."""

    def __init__(
        self, network: Network, dispatch: Dispatch, servicers: Servicers, audit: Audit
    ) -> None:
        """`audit` lists the connections of peers while they run."""
        self._network = network
        self._dispatch = dispatch
        self._servicers = servicers
        self._audit = audit
        self._gate = Gate(audit, dispatch)
        self._described = Described(servicers, dispatch, self._gate)
        self._server: grpc.aio.Server | None = None
        self.address: Authority | None = None
        """Where it listens, once started. Who connects there past the node is refused."""

    async def start(self) -> None:
        """Listen, and take peers' streams. Raises ConfigError."""
        server = grpc.aio.server(options=self._options())
        router = _Router(self._servicers, self._described, self._gate, self._dispatch)
        server.add_generic_rpc_handlers((router,))
        try:
            port = server.add_insecure_port(f"{HOST}:0")
        except RuntimeError as error:
            raise ConfigError(f"the gRPC server finds no port on {HOST}: {error}") from error
        await server.start()
        self._server = server
        self.address = Authority(HOST, port)
        self._network.serve_protocol(NAME, Loopback(self.address, self._audit).serve)

    async def aclose(self, grace: float = GRACE) -> None:
        """Take no new call, give those that run `grace` seconds, then cancel them. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            await self._described.retire()
            await self._dispatch.drain(NAME, grace)
        finally:
            await server.stop(STOP_TIMEOUT)
            self._network.serve_protocol(NAME, None)

    def _options(self) -> tuple[tuple[str, int], ...]:
        limit = self._dispatch.max_message_size
        return (
            ("grpc.so_reuseport", 0),  # else two servers may share a port, and with it its calls
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.max_metadata_size", MAX_HEADERS),
            ("grpc.absolute_max_metadata_size", MAX_HEADERS),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.server.max_pending_requests", MAX_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING),
            ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL),
            *KEEPALIVE,
            *FLOW,
        )


class _Router(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Finds who handles a call. Nothing else is registered: there is no way around the gate."""

    def __init__(
        self, servicers: Servicers, described: Described, gate: Gate, dispatch: Dispatch
    ) -> None:
        self._servicers = servicers
        self._described = described
        self._gate = gate
        self._serving = Serving(gate, dispatch)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path = handler_call_details.method
        handler = self._servicers.find(path) or self._described.find(path)
        if handler is None:
            return self._serving.handler(method_name(path))
        return self._gate.guard(handler, method_name(path))
