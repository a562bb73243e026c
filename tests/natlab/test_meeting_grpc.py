"""gRPC by node id alone between homes whose NATs filter by port, with grpcio as it is."""

from __future__ import annotations

import sys
import time

import pytest

from tests.natlab.lab import nat
from tests.natlab.members import Crowd, Member
from tests.natlab.steered import Steered, caller

pytestmark = [pytest.mark.natlab, pytest.mark.timeout(120)]

GRPC = 7001
"""The port that the service is exposed as."""


def serving(crowd: Crowd) -> Member:
    """A member with the demo's gRPC server beside it."""
    host = crowd.lab.host(behind=nat("port-restricted"))
    server = crowd.lab.spawn(host, [sys.executable, "-m", "keynet.cli.demo_service"])
    assert server.stdout is not None
    port = int(server.stdout.readline())
    return crowd.on(host, "--expose", f"{GRPC}=127.0.0.1:{port}")


def calling(crowd: Crowd) -> tuple[Member, Member, Steered, Steered]:
    """Two members, and a caller at each of the other's service."""
    crowd.seed()
    a, b = serving(crowd), serving(crowd)
    crowd.ready()
    return a, b, caller(a, b, GRPC), caller(b, a, GRPC)


def test_calls_in_both_directions(crowd: Crowd) -> None:
    *_, there, back = calling(crowd)
    for client in (there, back):
        assert client.do("greet keynet") == {"code": "OK", "answer": "hello keynet"}
    for client in (there, back):
        assert client.do("shout psst") == {"code": "OK", "answer": "PSST!"}


@pytest.mark.slow
def test_callers_learn_of_a_cut_cable_and_call_again_once_it_is_mended(crowd: Crowd) -> None:
    _, b, there, back = calling(crowd)
    for client in (there, back):
        assert client.do("shout psst")["answer"] == "PSST!"
    crowd.lab.lose(b.host, 1)
    for client in (there, back):
        ended = client.answer()
        print(ended)
        assert ended["code"] == "UNAVAILABLE"
        assert ended["seconds"] < 18, "it is promised within 15"
    refused = there.do("greet keynet")
    print(refused)
    assert refused["code"] == "UNAVAILABLE"
    b.loses(*crowd.seeds)
    crowd.lab.lose(b.host, 0)
    b.event("connection_opened", peer=str(crowd.seeds[0].node_id))
    mended_at = time.monotonic()
    for client in (there, back):
        assert client.do("await keynet") == {"code": "OK", "answer": "hello keynet"}
    took = time.monotonic() - mended_at
    print(f"called again {took:.1f} s after the network was back")
    assert took < 10, "grpcio itself waits for up to 2 s"
