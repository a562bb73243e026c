"""Which status a CONNECT ends with: the one table from what went wrong to what the client sees.

A gRPC client sees nothing but the code, so that the code alone must carry the error's class.
"""

from __future__ import annotations

from keynet.errors import (
    ClosedByPeer,
    ClosedError,
    ConfigError,
    ConnectError,
    HandshakeFailed,
    IdentityError,
    KeynetError,
    LookupFailed,
    ProtocolError,
    ProxyRefused,
)
from keynet.rpc.proxy.head import Answer, BadHead

_TABLE: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigError, 400),  # the target is malformed, or is nothing to dial
    (LookupFailed, 404),  # nobody knows the node
    (TimeoutError, 504),  # DeadlineExceeded is one
    (IdentityError, 526),  # the chain does not prove the node id
    (HandshakeFailed, 502),  # the peer was reached, but broke off
    (ConnectError, 503),  # no path
    (ClosedByPeer, 502),
    (ClosedError, 503),  # the path died while the CONNECT was under way
    (ProtocolError, 502),
    (KeynetError, 502),
    (OSError, 503),  # this machine's own network
)

PASSED_ON = frozenset({403, 404, 502, 503, 504})
"""What the peer's proxy may say to our client. Anything else would be mistaken for our own word:
a 407, for one, makes clients show their credentials."""


def status_of(error: BaseException) -> int:
    """The status that tells a client of `error`; 502 for what no layer should have raised."""
    if isinstance(error, BadHead | ProxyRefused):
        return error.status
    cause = error.__cause__
    if isinstance(error, HandshakeFailed) and isinstance(cause, IdentityError):
        return 526
    return next((status for kind, status in _TABLE if isinstance(error, kind)), 502)


def reason_of(error: BaseException) -> str:
    """One line for people."""
    if isinstance(error, TimeoutError) and not str(error):
        return "timed out"
    return str(error) or type(error).__name__


def check_answer(answer: Answer) -> None:
    """Raise ProxyRefused unless the peer's proxy said 200."""
    if answer.status == 200:
        return
    status = answer.status if answer.status in PASSED_ON else 502
    raise ProxyRefused(status, f"the peer answered {answer.status}: {answer.reason}")
