"""One way: a gRPC client on one node calls a gRPC server behind another.

    client ── CONNECT ──> forward proxy │ node B ══ uTP + TLS ══> node A │ reverse proxy ──> server

Both nodes run in this process to keep the example in one file; in earnest each runs on a machine
of its own, from `Node` in a program or from `keynet run`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from keynet.config import Config
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.grpc import aio_channel

PORT = 50051
"""The service's port in node A's name. It need not be the local server's."""


async def greet(request: bytes, context: Any) -> bytes:
    return b"hello " + request


async def start_server() -> tuple[grpc.aio.Server, int]:
    """An ordinary gRPC server that knows nothing of keynet."""
    server = grpc.aio.server()
    methods = {"Greet": grpc.unary_unary_rpc_method_handler(greet)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("example.Greeter", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def main() -> None:
    server, local_port = await start_server()
    # Identities are made here so that each node can be told of the other. Left out, a node keeps
    # its identity in its state directory, and makes it at its first start.
    a, b = Identity.generate(), Identity.generate()

    behind = Config.of(
        listen="127.0.0.1:0",
        expose=f"{PORT}=127.0.0.1:{local_port}",
        allow=f"{b.node_id}={PORT}",
    )
    async with Node(behind, identity=a) as node_a:
        (udp,) = node_a.endpoint.addresses
        front = Config.of(
            listen="127.0.0.1:0",
            proxy="127.0.0.1:0",
            peer=f"{a.node_id}@{udp}",
        )
        async with (
            Node(front, identity=b) as node_b,
            aio_channel(node_b, a.node_id, PORT) as channel,
        ):
            answer = await channel.unary_unary("/example.Greeter/Greet")(b"node A")
            print(f"node B got {answer.decode()!r} from {a.node_id}")
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())
