"""Calls and streams: grpcio direct, and both of keynet's bindings between two nodes.

The server's end is one process, the client's another. What is sent is the same in all three ways:
bytes, which gRPC carries as they are and JSON in base64.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from benchmarks.stream import Address
from benchmarks.workloads import Values
from keynet.address import NodeId
from keynet.config import Config
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.client import Client
from keynet.rpc.service import Service

DIRECT = "grpcio direct"
BINDINGS = {"grpc, two nodes": "grpc", "jsonrpc, two nodes": "jsonrpc"}
"""From the name that the report shows to the binding."""
NAMES = (DIRECT, *BINDINGS)

MESSAGE = bytes(range(64))
WARM_UP = 50
DIRECT_SERVICE = "benchmarks.Rpc"


async def echo(data: bytes) -> bytes:
    return data


async def down(count: int, size: int) -> AsyncIterator[bytes]:
    message = bytes(size)
    for _ in range(count):
        yield message


async def up(items: AsyncIterator[bytes]) -> int:
    received = 0
    async for item in items:
        received += len(item)
    return received


class Caller(Protocol):
    """The client's end of one way."""

    async def echo(self, data: bytes) -> bytes: ...

    def down(self, count: int, size: int) -> AsyncIterator[bytes]: ...

    async def up(self, items: AsyncIterator[bytes]) -> int: ...

    async def aclose(self) -> None: ...


# Between two nodes.


def _service() -> Service:
    service = Service("benchmarks")
    for function in (echo, down, up):
        service.method(function)
    return service


async def _serve_node(name: str, host: str) -> Address:
    config = Config.of(listen=f"{host}:0", rpc=BINDINGS[name], allow_call="any")
    node = Node(config, identity=Identity.generate(), services=[_service()])
    await node.start()
    _kept.append(node)
    return {
        "host": host,
        "port": node.endpoint.addresses[0].port,
        "node_id": str(node.node_id),
    }


class _NodeCaller:
    def __init__(self, node: Node, client: Client) -> None:
        self._node, self._client = node, client
        self._methods = {method.name: method for method in _service()}

    @classmethod
    async def connected(cls, name: str, address: Address) -> _NodeCaller:
        peer = f"{address['node_id']}@{address['host']}:{address['port']}"
        local = "127.0.0.1" if address["host"] == "127.0.0.1" else "0.0.0.0"
        config = Config.of(listen=f"{local}:0", rpc=BINDINGS[name], peer=peer)
        node = Node(config, identity=Identity.generate())
        await node.start()
        return cls(node, node.client(NodeId.parse(address["node_id"])))

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = await self._client.call(self._methods["echo"], {"data": data})
        return answer

    async def down(self, count: int, size: int) -> AsyncIterator[bytes]:
        params = {"count": count, "size": size}
        async with self._client.server_stream(self._methods["down"], params) as stream:
            async for item in stream:
                yield item

    async def up(self, items: AsyncIterator[bytes]) -> int:
        received: int = await self._client.client_stream(self._methods["up"], items)
        return received

    async def aclose(self) -> None:
        await self._node.aclose()


# Direct.


async def _serve_direct(host: str) -> Address:
    import grpc
    import grpc.aio

    async def serve_echo(request: bytes, context: Any) -> bytes:
        return await echo(request)

    async def serve_down(request: bytes, context: Any) -> AsyncIterator[bytes]:
        count, size = map(int, request.split())
        async for message in down(count, size):
            yield message

    async def serve_up(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"%d" % await up(requests)

    server = grpc.aio.server()
    handlers = {
        "echo": grpc.unary_unary_rpc_method_handler(serve_echo),
        "down": grpc.unary_stream_rpc_method_handler(serve_down),
        "up": grpc.stream_unary_rpc_method_handler(serve_up),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(DIRECT_SERVICE, handlers),)
    )
    port = server.add_insecure_port(f"{host}:0")
    await server.start()
    _kept.append(server)
    return {"host": host, "port": port}


class _DirectCaller:
    def __init__(self, address: Address) -> None:
        import grpc.aio

        self._channel = grpc.aio.insecure_channel(f"{address['host']}:{address['port']}")
        self._echo = self._channel.unary_unary(f"/{DIRECT_SERVICE}/echo")
        self._down = self._channel.unary_stream(f"/{DIRECT_SERVICE}/down")
        self._up = self._channel.stream_unary(f"/{DIRECT_SERVICE}/up")

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = await self._echo(data)
        return answer

    async def down(self, count: int, size: int) -> AsyncIterator[bytes]:
        async for item in self._down(b"%d %d" % (count, size)):
            yield item

    async def up(self, items: AsyncIterator[bytes]) -> int:
        return int(await self._up(items))

    async def aclose(self) -> None:
        await self._channel.close()


_kept: list[object] = []
"""Servers, which live as long as the process."""


async def serve(name: str, host: str) -> Address:
    """Start the server's end on an ephemeral port."""
    return await (_serve_direct(host) if name == DIRECT else _serve_node(name, host))


# What is measured.


async def unary(caller: Caller, *, count: int) -> Values:
    """`count` calls one after the other."""
    times = []
    for _ in range(count + WARM_UP):
        started = time.perf_counter()
        assert await caller.echo(MESSAGE) == MESSAGE
        times.append(time.perf_counter() - started)
    measured = sorted(times[WARM_UP:])
    return {
        "median_us": statistics.median(measured) * 1e6,
        "p99_us": measured[int(count * 0.99)] * 1e6,
    }


async def concurrent(caller: Caller, *, count: int, at_once: int) -> Values:
    """`count` calls, `at_once` of which are always under way."""

    async def some(calls: int) -> None:
        for _ in range(calls):
            assert await caller.echo(MESSAGE) == MESSAGE

    await some(WARM_UP)
    started = time.perf_counter()
    await asyncio.gather(*(some(count // at_once) for _ in range(at_once)))
    return {"calls_per_s": count // at_once * at_once / (time.perf_counter() - started)}


async def stream_down(caller: Caller, *, count: int, size: int) -> Values:
    """A server's stream of `count` messages of `size` bytes."""
    await _receive(caller, 2, size)
    started = time.perf_counter()
    await _receive(caller, count, size)
    return _rates(count, size, time.perf_counter() - started)


async def _receive(caller: Caller, count: int, size: int) -> None:
    received = 0
    async for message in caller.down(count, size):
        received += len(message)
    assert received == count * size, f"{received} bytes came of {count * size}"


async def stream_up(caller: Caller, *, count: int, size: int) -> Values:
    """A client's stream, until the server has said how much has come."""
    assert await caller.up(down(2, size)) == 2 * size
    started = time.perf_counter()
    received = await caller.up(down(count, size))
    assert received == count * size, f"{received} bytes came of {count * size}"
    return _rates(count, size, time.perf_counter() - started)


def _rates(count: int, size: int, seconds: float) -> Values:
    return {"rate_mb_per_s": count * size / seconds / 1e6, "messages_per_s": count / seconds}


WORKLOADS: dict[str, Callable[..., Awaitable[Values]]] = {
    "rpc_unary": unary,
    "rpc_concurrent": concurrent,
    "rpc_stream_down": stream_down,
    "rpc_stream_up": stream_up,
}


async def run(name: str, workload: str, address: Address, **arguments: Any) -> Values:
    """One workload from a client's end that was made for it."""
    caller: Caller
    if name == DIRECT:
        caller = _DirectCaller(address)
    else:
        caller = await _NodeCaller.connected(name, address)
    try:
        return await WORKLOADS[workload](caller, **arguments)
    finally:
        await caller.aclose()
