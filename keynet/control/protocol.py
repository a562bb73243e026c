"""What passes over the control socket: one JSON object a line, both ways, with a version.

Request  `{"v": 1, "verb": "status", "params": {}}`, and `"token"` where the socket is TCP.
Answer   `{"v": 1, "ok": true, "result": {…}}`
or       `{"v": 1, "ok": false, "error": {"kind": …, "message": …}}`.

Pure: no I/O. What verbs there are is the server's affair.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec

from keynet.errors import ConfigError, KeynetError, RemoteProtocolError, RpcError
from keynet.rpc.status import Status, rpc_error

VERSION = 1
MAX_LINE = 1 << 20
"""Bytes in one request or answer."""


class Request(msgspec.Struct, omit_defaults=True):
    """One question to the running node."""

    v: int
    verb: str
    params: dict[str, Any] = {}
    token: str = ""


class Fault(msgspec.Struct):
    """Why a request was not answered."""

    kind: str
    """`config` when the request is wrong, `internal` when the node is, an RPC status's name when
    a call failed, else the error's class."""
    message: str


class Answer(msgspec.Struct, omit_defaults=True):
    """What the node says to one request."""

    v: int
    ok: bool
    result: Any = None
    error: Fault | None = None


def encode(message: Request | Answer) -> bytes:
    """One line, newline included."""
    return msgspec.json.encode(message) + b"\n"


def read_request(line: bytes, token: str) -> Request:
    """The request in `line`; RemoteProtocolError when it is none, or shows the wrong token."""
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RemoteProtocolError(f"not a control request: {error}") from error
    if request.v != VERSION:
        raise RemoteProtocolError(
            f"this node speaks version {VERSION} of the control protocol, not {request.v}: "
            "use the keynet command of the node's own version"
        )
    if not hmac.compare_digest(request.token.encode(), token.encode()):
        raise RemoteProtocolError("the control token is missing or wrong")
    return request


def read_answer(line: bytes) -> Any:
    """The result in `line`; raises ConfigError, RpcError, KeynetError or RemoteProtocolError for
    a fault."""
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RemoteProtocolError(f"not an answer of a node: {error}") from error
    if answer.ok:
        return answer.result
    fault = answer.error or Fault("internal", "the node gave no reason")
    if fault.kind in Status.__members__:
        raise rpc_error(Status[fault.kind], fault.message)
    raise ConfigError(fault.message) if fault.kind == "config" else KeynetError(fault.message)


def fault_of(error: KeynetError) -> Answer:
    """The answer that tells of `error`."""
    if isinstance(error, RpcError):
        kind = Status(error.status).name
    else:
        kind = "config" if isinstance(error, ConfigError) else type(error).__name__
    return Answer(VERSION, ok=False, error=Fault(kind, str(error)))
