"""Statuses between keynet and grpcio, and grpcio's errors: the one place that translates them.

grpcio tells of a CONNECT that failed nothing but the proxy's status code, inside its text: the
code gives the status, and the node knows the reason (`ProxiedNetwork.why`).
"""

from __future__ import annotations

import re

import grpc
import grpc.aio

from keynet.errors import RpcError
from keynet.rpc.grpc.metadata import details_of
from keynet.rpc.status import Status, rpc_error

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_REFUSED = re.compile(r"HTTP proxy returned response code (\d{3})")

_OF_REFUSAL = {
    400: Status.INTERNAL,
    403: Status.PERMISSION_DENIED,
    405: Status.INTERNAL,
    407: Status.INTERNAL,
    431: Status.INTERNAL,
    504: Status.DEADLINE_EXCEEDED,
    526: Status.UNAUTHENTICATED,
}
"""As `keynet.rpc.status.from_network` has it; UNAVAILABLE for any other."""


def grpc_code(status: int) -> grpc.StatusCode:
    """grpcio's name for a status; UNKNOWN for a number that is none."""
    return _CODES.get(status, grpc.StatusCode.UNKNOWN)


def from_grpc(error: grpc.aio.AioRpcError, why: str | None) -> RpcError:
    """What a caller sees of a call that failed. `why` is what the node knows of the peer's loss."""
    status, text = Status(error.code().value[0]), error.details() or ""
    if status is not Status.UNAVAILABLE:
        return rpc_error(status, text, details_of(error.trailing_metadata()))
    refused = _REFUSED.search(text)
    if refused is not None:
        return _from_refusal(int(refused[1]), why)
    return rpc_error(status, why or text, details_of(error.trailing_metadata()))


def from_misuse(error: Exception) -> RpcError:
    """What a caller sees when grpcio itself refused: metadata that cannot be sent, most often."""
    return rpc_error(Status.INVALID_ARGUMENT, f"gRPC cannot carry this call: {error}")


def _from_refusal(code: int, why: str | None) -> RpcError:
    if code == 404 and why is None:  # the peer was reached: it is the one who said so
        return rpc_error(Status.UNIMPLEMENTED, "the peer does not serve gRPC")
    status = _OF_REFUSAL.get(code, Status.UNAVAILABLE)
    return rpc_error(status, why or f"the way to the peer was refused with status {code}")
