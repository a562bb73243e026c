"""Status codes as JSON-RPC 2.0 error objects (its section 5.1), and back.

The codes that the specification defines stand for the statuses that mean the same; every other
status is -32000 minus its number, in the range that is left to implementations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keynet.errors import RpcError
from keynet.rpc.status import Status, rpc_error

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
_BASE = -32000

_FAILURES = frozenset(Status) - {Status.OK}

_CODES = {
    Status.UNIMPLEMENTED: METHOD_NOT_FOUND,
    Status.INVALID_ARGUMENT: INVALID_PARAMS,
    Status.INTERNAL: INTERNAL_ERROR,
}
_STATUSES = {code: status for status, code in _CODES.items()} | {
    PARSE_ERROR: Status.INTERNAL,
    INVALID_REQUEST: Status.INTERNAL,
}


class ErrorData(msgspec.Struct, omit_defaults=True):
    """What keynet says beyond code and message. Absent in what other programs send."""

    status: str = ""
    """The status's name, such as `NOT_FOUND`."""
    details: bytes = b""
    """In base64 on the wire."""
    reason: str = ""
    """Why a message was no request."""


class ErrorObject(msgspec.Struct, omit_defaults=True):
    """The member `error` of a response."""

    code: int
    message: str
    data: Any = msgspec.UNSET


def error_object(error: RpcError) -> ErrorObject:
    """How a call's failure is told to the peer."""
    status = Status(error.status) if error.status in _FAILURES else Status.UNKNOWN
    data = ErrorData(status.name, error.details)
    return ErrorObject(_CODES.get(status, _BASE - status), error.message, data)


def parse_error(reason: str) -> ErrorObject:
    """What came was no JSON."""
    data = ErrorData(Status.INVALID_ARGUMENT.name, reason=reason)
    return ErrorObject(PARSE_ERROR, "Parse error", data)


def invalid_request(reason: str) -> ErrorObject:
    """What came was JSON, but no request."""
    data = ErrorData(Status.INVALID_ARGUMENT.name, reason=reason)
    return ErrorObject(INVALID_REQUEST, "Invalid Request", data)


def rpc_error_of(code: int, message: str, data: object) -> RpcError:
    """The failure that an error object tells of, whoever wrote it. `data` is as JSON gave it."""
    said = _data_of(data)
    named = Status.__members__.get(said.status, Status.OK)
    status = named if named in _FAILURES else _status_of(code)
    return rpc_error(status, f"{message}: {said.reason}" if said.reason else message, said.details)


def _data_of(data: object) -> ErrorData:
    try:
        return msgspec.convert(data, ErrorData)
    except msgspec.ValidationError:
        return ErrorData()


def _status_of(code: int) -> Status:
    if code in _STATUSES:
        return _STATUSES[code]
    number = _BASE - code
    return Status(number) if number in _FAILURES else Status.UNKNOWN
