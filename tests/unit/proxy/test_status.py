"""Which error gives which status: every one of the architecture's list."""

from __future__ import annotations

import pytest

from keynet import errors
from keynet.rpc.proxy.head import Answer, BadHead
from keynet.rpc.proxy.status import check_answer, reason_of, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("x"), 400),
        (BadHead(405, "x"), 405),
        (BadHead(407, "x"), 407),
        (BadHead(431, "x"), 431),
        (errors.ProxyRefused(403, "x"), 403),
        (errors.LookupFailed("x"), 404),
        (errors.RemoteProtocolError("x"), 502),
        (errors.ClosedByPeer("x"), 502),
        (errors.HandshakeFailed("x"), 502),
        (errors.PunchFailed("x"), 503),
        (errors.ConnectError("x"), 503),
        (errors.ConnectionLost("x"), 503),
        (errors.LocallyClosed("x"), 503),
        (OSError("network is unreachable"), 503),
        (errors.DeadlineExceeded("x"), 504),
        (TimeoutError(), 504),
        (errors.UnclaimedNodeId("x"), 526),
        (errors.EmptyChain("x"), 526),
        (errors.CertificateExpired("x"), 526),
        (errors.KeynetError("x"), 502),
        (ZeroDivisionError("a plugin's bug"), 502),
    ],
    ids=repr,
)
def test_errors_have_their_status(error: BaseException, status: int) -> None:
    assert status_of(error) == status


def test_a_handshake_that_failed_for_the_chain_is_526() -> None:
    error = errors.HandshakeFailed("x")
    error.__cause__ = errors.KeyMismatch("y")
    assert status_of(error) == 526


def test_every_error_says_something() -> None:
    assert reason_of(TimeoutError()) == "timed out"
    assert reason_of(errors.KeynetError()) == "KeynetError"


def test_200_passes() -> None:
    check_answer(Answer(200, "", b""))


@pytest.mark.parametrize("status", [403, 404, 502, 503, 504])
def test_what_the_peer_may_say_is_passed_on(status: int) -> None:
    with pytest.raises(errors.ProxyRefused, match="because") as caught:
        check_answer(Answer(status, "because", b""))
    assert caught.value.status == status


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 407, 500, 526, 999])
def test_what_it_may_not_say_is_502(status: int) -> None:
    with pytest.raises(errors.ProxyRefused) as caught:
        check_answer(Answer(status, "", b""))
    assert caught.value.status == 502
