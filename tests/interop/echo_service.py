"""A real grpcio server with one method of each type, on bytes: no generated code."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

SERVICE = "interop.Echo"


def _unary(request: bytes, _: Any) -> bytes:
    return request


def _server_stream(request: bytes, _: Any) -> Iterator[bytes]:
    yield from request.split()


def _client_stream(requests: Iterator[bytes], _: Any) -> bytes:
    return b"".join(requests)


def _duplex(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
    for request in requests:
        yield request.upper()


@contextmanager
def echo_server() -> Iterator[str]:
    """Serve on an ephemeral port of loopback; gives its HOST:PORT."""
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(_server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(_client_stream),
        "Duplex": grpc.stream_stream_rpc_method_handler(_duplex),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
