"""The one status set of every binding: gRPC's sixteen codes and OK, and what errors become them."""

from __future__ import annotations

from enum import IntEnum

from keynet.errors import (
    ClosedError,
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    IdentityError,
    KeynetError,
    LookupFailed,
    ProtocolError,
    ProxyRefused,
    RpcError,
)


class Status(IntEnum):
    """How a call ended; numbers and meanings are gRPC's."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


MAX_MESSAGE = 300
"""Characters of a status message that pass between nodes."""

MAX_DETAILS = 4096
"""Bytes of a status's details that pass between nodes."""

SHUTTING_DOWN = "this node is shutting down"
"""Why calls are UNAVAILABLE at the end."""

_OF_ERROR: tuple[tuple[type[KeynetError], Status], ...] = (
    (IdentityError, Status.UNAUTHENTICATED),
    (DeadlineExceeded, Status.DEADLINE_EXCEEDED),
    (LookupFailed, Status.UNAVAILABLE),
    (ConnectError, Status.UNAVAILABLE),
    (ClosedError, Status.UNAVAILABLE),
    (ProtocolError, Status.INTERNAL),
    (ConfigError, Status.INVALID_ARGUMENT),
)

_OF_REFUSAL = {403: Status.PERMISSION_DENIED, 404: Status.UNIMPLEMENTED}
"""What a peer's reverse proxy says of a built-in protocol."""


def rpc_error(status: Status, message: str, details: bytes = b"") -> RpcError:
    """An RpcError whose text is one bounded line of printable characters."""
    return RpcError(status, printable(message), details[:MAX_DETAILS])


def from_network(error: KeynetError) -> RpcError:
    """What a caller sees when the network, not the called function, ended the call.

    The reason stays: it is this side's own (ConnectionLost gives UNAVAILABLE and says why).
    """
    if isinstance(error, RpcError):
        return error
    if isinstance(error, ProxyRefused) and error.status in _OF_REFUSAL:
        return rpc_error(_OF_REFUSAL[error.status], str(error))
    for kind, status in _OF_ERROR:
        if isinstance(error, kind):
            return rpc_error(status, str(error))
    return rpc_error(Status.UNKNOWN, str(error))


def printable(text: str) -> str:
    """`text` as one line that may be shown in a terminal or a log, at most MAX_MESSAGE long."""
    line = " ".join(text[: MAX_MESSAGE * 2].split())
    return "".join(c if c.isprintable() else "?" for c in line)[:MAX_MESSAGE]
