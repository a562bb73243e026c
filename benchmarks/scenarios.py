"""What is measured where: each scenario names its workload, its peers and the path between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks import grpc_unary, rpc
from benchmarks.lossy import lossy_path
from benchmarks.nodes import nodes
from benchmarks.session import Middle, nothing

BARE, SECURE, NO_OFFLOAD, WHOLE = "utp", "utp+tls", "utp+tls, no offload", "whole path"
QUIC, TLS, GRPC, GRPC_WHOLE = "aioquic", "asyncio TLS", "grpcio", "grpcio, whole path"


@dataclass(frozen=True, slots=True)
class Subject:
    """One line of a scenario: a peer's worker, and what stands before it."""

    label: str
    peer: str
    middle: Middle = nothing


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    title: str
    workload: str
    subjects: tuple[Subject, ...]
    networks: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    quick: dict[str, Any] = field(default_factory=dict)
    """What replaces the arguments with --quick."""


def _plain(*peers: str) -> tuple[Subject, ...]:
    return tuple(Subject(peer, peer) for peer in peers)


OURS = (*_plain(BARE, SECURE, NO_OFFLOAD), Subject(WHOLE, WHOLE, nodes))
BOTH = ("veth", "loopback")


def _streams() -> tuple[Scenario, ...]:
    """A stream of small messages and one of large ones, both ways."""
    sizes = (("1 KiB", 1 << 10, 10_000, 2_000), ("1 MiB", 1 << 20, 200, 20))
    return tuple(
        Scenario(
            f"rpc-stream-{way}-{label.replace(' ', '').lower()}",
            f"A stream of messages of {label}, {said}",
            f"rpc_stream_{way}",
            _plain(*rpc.NAMES),
            ("loopback",),
            {"count": count, "size": size},
            {"count": quick},
        )
        for label, size, count, quick in sizes
        for way, said in (("down", "from the server"), ("up", "to the server"))
    )


SCENARIOS = (
    Scenario(
        "bulk",
        "Bulk, one way",
        "bulk",
        (*OURS, *_plain(QUIC, TLS)),
        BOTH,
        {"seconds": 3.0},
        {"seconds": 1.0},
    ),
    Scenario(
        "lossy",
        "Bulk, one way, 200 Mbit/s, 50 ms, 1 % loss",
        "bulk",
        tuple(Subject(peer, peer, lossy_path) for peer in (SECURE, QUIC)),
        ("veth",),
        {"seconds": 10.0, "warm_up_bytes": 8 << 20},
        {"seconds": 4.0, "warm_up_bytes": 4 << 20},
    ),
    Scenario(
        "round-trip",
        "64 bytes there and back",
        "round_trip",
        (*OURS, *_plain(QUIC, TLS)),
        BOTH,
        {"count": 5000},
        {"count": 1000},
    ),
    Scenario(
        "set-up",
        "Dial to first byte",
        "set_up",
        (*OURS, *_plain(QUIC, TLS)),
        BOTH,
        {"count": 60},
        {"count": 20},
    ),
    Scenario(
        "idle",
        "Memory per idle connection",
        "idle",
        (*OURS, *_plain(QUIC, TLS)),
        ("loopback",),
        {"count": 300},
        {"count": 100},
    ),
    Scenario(
        "unary",
        "Unary gRPC call, 64 bytes",
        "unary",
        (Subject(GRPC, grpc_unary.NAME), Subject(GRPC_WHOLE, grpc_unary.NAME, nodes)),
        BOTH,
        {"count": 2000},
        {"count": 500},
    ),
    Scenario(
        "rpc-unary",
        "Unary call of a service definition, 64 bytes",
        "rpc_unary",
        _plain(*rpc.NAMES),
        ("loopback",),
        {"count": 2000},
        {"count": 300},
    ),
    Scenario(
        "rpc-unary-32",
        "The same, 32 calls at once",
        "rpc_concurrent",
        _plain(*rpc.NAMES),
        ("loopback",),
        {"count": 6400, "at_once": 32},
        {"count": 640},
    ),
    *_streams(),
)
