"""What a node's gRPC server says of itself: grpcio's health and reflection services.

Their methods are like others: closed to a peer until access rules name them. Reflection lists the
services of which the asking peer may call something, and describes every protobuf message that
this program has loaded. Of service definitions it knows the names and no more: their messages
are MessagePack, and no protobuf descriptor could describe them (`keynet services` does).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from keynet.rpc.api import Dispatch
from keynet.rpc.grpc.gate import Context, Gate
from keynet.rpc.grpc.servicers import Servicers


class Described:
    """The two services of one server."""

    def __init__(self, servicers: Servicers, dispatch: Dispatch, gate: Gate) -> None:
        """`servicers` are the users' own, which reflection lists too."""
        self._own = Servicers()
        self._health = _Health(servicers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._own)
        reflected = _Reflection(servicers, self._own, dispatch, gate)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, self._own)

    def find(self, path: str) -> grpc.RpcMethodHandler | None:
        """The handler of a method of theirs, or None."""
        return self._own.find(path)

    async def retire(self) -> None:
        """Tell whoever watches the health that the server is about to go."""
        await self._health.enter_graceful_shutdown()


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # grpcio has no types
    """The server as a whole is the service "": it serves until it retires, and so do servicers."""

    def __init__(self, servicers: Servicers) -> None:
        super().__init__()
        self._servicers = servicers

    async def Check(self, request: Any, context: Context) -> Any:
        await self._learn(request.service)
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Context) -> None:
        await self._learn(request.service)
        await super().Watch(request, context)

    async def _learn(self, service: str) -> None:
        if service in self._servicers.services() and service not in self._server_status:
            await self.set(service, health_pb2.HealthCheckResponse.SERVING)


class _Reflection(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc]
    """Lists the services of which the asking peer may call something."""

    def __init__(
        self, servicers: Servicers, own: Servicers, dispatch: Dispatch, gate: Gate
    ) -> None:
        self._servicers = servicers
        self._own = own
        self._dispatch = dispatch
        self._gate = gate

    async def ServerReflectionInfo(self, requests: Any, context: Context) -> AsyncIterator[Any]:
        peer = self._gate.identify(context)
        names = {method.service for method in self._dispatch.open_to(peer)}
        for servicers in (self._servicers, self._own):
            names |= servicers.services(lambda name: self._dispatch.is_open(name, peer))
        answering = reflection.aio.ReflectionServicer(names)
        async for answer in answering.ServerReflectionInfo(requests, context):
            yield answer
