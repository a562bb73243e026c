"""Unary gRPC calls with grpcio, direct or through whatever proxy the address names."""

from __future__ import annotations

import statistics
import time
from concurrent import futures
from typing import Any

from benchmarks.stream import Address
from benchmarks.workloads import Values

NAME = "grpcio"
METHOD = "/benchmarks.Echo/Call"
MESSAGE = bytes(64)


def serve(host: str) -> Address:
    """Start an echo server on an ephemeral port; it lives as long as the process."""
    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    service, method = METHOD[1:].split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: echo}),)
    )
    port = server.add_insecure_port(f"{host}:0")
    server.start()
    _kept.append(server)
    return {"host": host, "port": port}


_kept: list[Any] = []
"""grpcio stops a server that nothing refers to."""


def run(address: Address, count: int) -> Values:
    """Time `count` calls one after the other on one channel."""
    import grpc

    options = [("grpc.http_proxy", address["http_proxy"])] if "http_proxy" in address else []
    target = address.get("target") or f"{address['host']}:{address['port']}"
    times = []
    with grpc.insecure_channel(target, options=options) as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(count + 50):
            started = time.perf_counter()
            assert call(MESSAGE, wait_for_ready=True, timeout=10) == MESSAGE
            times.append(time.perf_counter() - started)
    measured = sorted(times[-count:])
    return {
        "median_us": statistics.median(measured) * 1e6,
        "p99_us": measured[int(count * 0.99)] * 1e6,
    }
