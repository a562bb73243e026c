"""The one status set, and what errors of the network become."""

from __future__ import annotations

import pytest

from keynet.errors import (
    ClosedByPeer,
    ConfigError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    KeynetError,
    LookupFailed,
    ProxyRefused,
    PunchFailed,
    RemoteProtocolError,
    RpcError,
    UnclaimedNodeId,
)
from keynet.rpc.status import MAX_DETAILS, MAX_MESSAGE, Status, from_network, printable, rpc_error


def test_the_numbers_are_grpcs() -> None:
    assert [status.name for status in Status] == [
        *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
        *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
        *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
        "UNAUTHENTICATED",
    ]
    assert [int(status) for status in Status] == list(range(17))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionLost("no answer for 30 s"), Status.UNAVAILABLE),
        (ClosedByPeer("reset"), Status.UNAVAILABLE),
        (PunchFailed("tried 3 addresses"), Status.UNAVAILABLE),
        (ConnectError("refused"), Status.UNAVAILABLE),
        (LookupFailed("unknown"), Status.UNAVAILABLE),
        (DeadlineExceeded("too late"), Status.DEADLINE_EXCEEDED),
        (UnclaimedNodeId("another node"), Status.UNAUTHENTICATED),
        (ProxyRefused(403, "not you"), Status.PERMISSION_DENIED),
        (ProxyRefused(404, "not here"), Status.UNIMPLEMENTED),
        (ProxyRefused(502, "broken"), Status.UNAVAILABLE),
        (RemoteProtocolError("nonsense"), Status.INTERNAL),
        (ConfigError("wrong"), Status.INVALID_ARGUMENT),
        (KeynetError("whatever"), Status.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_the_network_keep_their_reason(error: KeynetError, status: Status) -> None:
    made = from_network(error)
    assert (made.status, made.message) == (status, str(error))


def test_an_rpc_error_stays_itself() -> None:
    error = RpcError(Status.ABORTED, "so it is")
    assert from_network(error) is error


def test_what_is_sent_is_bounded_and_printable() -> None:
    error = rpc_error(Status.INTERNAL, "\x1b[2J\n" * 10_000, b"d" * 10_000)
    assert len(error.message) <= MAX_MESSAGE
    assert error.message.isprintable()
    assert len(error.details) == MAX_DETAILS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\t end ", "two lines end"),
        ("\x1b[0m\u202e", "?[0m?"),
        ("", ""),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
