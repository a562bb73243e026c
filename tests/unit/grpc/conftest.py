"""A grpcio server with one method of each kind, behind a pair of proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from keynet.address import Authority
from keynet.config.values import Service


def raw(data: bytes) -> bytes:
    return data


@dataclass
class Server:
    """Methods of `/test.Echo`; messages are plain bytes."""

    port: int = 0
    peers: list[str] = field(default_factory=list)
    """What each call's context named its client."""

    @property
    def service(self) -> Service:
        return Service(80, Authority("127.0.0.1", self.port))

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.peers.append(context.peer())
        if request == b"fail":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "told to")
        return request

    def server_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from (request + b"%d" % n for n in range(10))

    def client_stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b",".join(requests)

    def duplex(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from (request.upper() for request in requests)

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary, raw, raw),
                "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream, raw, raw),
                "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream, raw, raw),
                "Duplex": grpc.stream_stream_rpc_method_handler(self.duplex, raw, raw),
            },
        )


@pytest.fixture
def grpc_server() -> Iterator[Server]:
    """Real grpcio, listening on loopback."""
    server = Server()
    with ThreadPoolExecutor(4) as pool:
        real = grpc.server(pool)
        real.add_generic_rpc_handlers([server.handler()])
        server.port = real.add_insecure_port("127.0.0.1:0")
        real.start()
        yield server
        real.stop(0).wait()


class Calls:
    """The four kinds of calls over a blocking channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.unary = channel.unary_unary("/test.Echo/Unary", raw, raw)
        self.server_stream = channel.unary_stream("/test.Echo/ServerStream", raw, raw)
        self.client_stream = channel.stream_unary("/test.Echo/ClientStream", raw, raw)
        self.duplex = channel.stream_stream("/test.Echo/Duplex", raw, raw)

    def all_four(self) -> list[Any]:
        return [
            self.unary(b"hello"),
            list(self.server_stream(b"n")),
            self.client_stream(iter([b"a", b"b", b"c"])),
            list(self.duplex(iter([b"a", b"b", b"c"]))),
        ]


ALL_FOUR = [b"hello", [b"n%d" % n for n in range(10)], b"a,b,c", [b"A", b"B", b"C"]]


@pytest.fixture
def expected() -> list[Any]:
    return ALL_FOUR


@pytest.fixture
def in_thread() -> Any:
    """Make blocking calls on a channel while the proxies' loop runs; close the channel."""

    async def run(channel: grpc.Channel, work: Any) -> Any:
        try:
            return await asyncio.to_thread(work, Calls(channel))
        finally:
            await asyncio.to_thread(channel.close)

    return run
