"""What callers see of grpcio's errors, and what grpcio is told of ours."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from keynet.errors import (
    CertificateExpired,
    DeadlineExceeded,
    KeynetError,
    LookupFailed,
    ProxyRefused,
    PunchFailed,
)
from keynet.rpc.grpc.metadata import DETAILS, KIND, details_of, incoming, kind_of, outgoing
from keynet.rpc.grpc.status import from_grpc, grpc_code
from keynet.rpc.method import Kind
from keynet.rpc.proxy.status import status_of
from keynet.rpc.status import Status, from_network

PROXY_SAID = "failed to connect to all addresses; last error: HTTP proxy returned response code "


def failed(
    code: grpc.StatusCode, text: str | None, trailers: tuple[tuple[str, str | bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details=text
    )


@pytest.mark.parametrize("status", Status)
def test_every_status_is_the_same_in_grpcio(status: Status) -> None:
    code = grpc_code(status)
    assert code.name == status.name
    if status is not Status.OK:
        error = from_grpc(failed(code, "so it is", ((DETAILS, b"\0why"),)), None)
        assert (error.status, error.message, error.details) == (status, "so it is", b"\0why")


def test_a_number_that_is_no_status_is_unknown() -> None:
    assert grpc_code(99) is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize(
    "error",
    [
        LookupFailed("nobody knows it"),
        PunchFailed("tried everything"),
        DeadlineExceeded("no answer"),
        CertificateExpired("since yesterday"),
    ],
    ids=repr,
)
def test_a_refused_connect_is_what_every_binding_makes_of_it(error: KeynetError) -> None:
    """With the reason that the node knows; only the status comes through grpcio."""
    seen = from_grpc(
        failed(grpc.StatusCode.UNAVAILABLE, f"{PROXY_SAID}{status_of(error)}"), str(error)
    )
    expected = from_network(error)
    assert (seen.status, seen.message) == (expected.status, expected.message)


@pytest.mark.parametrize("status", [403, 404, 502, 503])
def test_a_peers_own_refusal_is_what_every_binding_makes_of_it(status: int) -> None:
    """The peer was connected, so that the node knows of no trouble with it."""
    seen = from_grpc(failed(grpc.StatusCode.UNAVAILABLE, f"{PROXY_SAID}{status}"), None)
    assert seen.status == from_network(ProxyRefused(status, "no")).status


def test_a_lost_connection_has_the_nodes_reason() -> None:
    lost = failed(grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")
    seen = from_grpc(lost, "no pong for 8 s")
    assert (seen.status, seen.message) == (Status.UNAVAILABLE, "no pong for 8 s")
    assert from_grpc(lost, None).message == "Stream removed (Socket closed)"


def test_text_of_the_peer_is_bounded_and_printable() -> None:
    seen = from_grpc(failed(grpc.StatusCode.ABORTED, "\x1b[2J" + "x" * 10_000), None)
    assert seen.message.isprintable()
    assert len(seen.message) == 300
    assert from_grpc(failed(grpc.StatusCode.ABORTED, None), None).message == ""


def test_only_the_applications_metadata_is_shown() -> None:
    received = (
        (KIND, "unary"),
        *(("user-agent", "grpc-c"), ("trace", "1"), ("grpc-trace-bin", b"\0"), ("trace", "2")),
        *(("their-bin", b"\0"), (DETAILS, b"why")),
    )
    assert incoming(received) == (("trace", "1"), ("trace", "2"))
    assert details_of(received) == b"why"
    assert kind_of(received) is Kind.UNARY
    assert kind_of([(KIND, "else")]) is kind_of(None) is None
    assert incoming(None) == ()
    assert details_of(None) == b""
    assert outgoing([("a", "b")], b"why") == (("a", "b"), (DETAILS, b"why"))
    assert outgoing([("a", "b")]) == (("a", "b"),)
