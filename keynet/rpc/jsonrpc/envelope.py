"""The messages of JSON-RPC 2.0, and of its extension `rpc.`: reading checks, building is plain.

Whatever comes in is decoded into one of the types here or into Invalid; the parts that belong to
a method stay JSON text. jsonrpcclient builds requests and reads responses that have been checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jsonrpcclient
import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from keynet.errors import RpcError
from keynet.rpc.api import Metadata
from keynet.rpc.jsonrpc import codes
from keynet.rpc.jsonrpc.codec import UNREADABLE, decoder
from keynet.rpc.jsonrpc.codes import ErrorObject
from keynet.rpc.jsonrpc.credit import MAX_GRANT
from keynet.rpc.method import Kind
from keynet.rpc.status import printable

RESERVED = "rpc."
"""How the extension's methods begin (JSON-RPC 2.0 section 4.3)."""

CALL = "rpc.call"
ITEM = "rpc.item"
END = "rpc.end"
CANCEL = "rpc.cancel"
CREDIT = "rpc.credit"
METADATA = "rpc.metadata"
ERROR = "rpc.error"

MAX_BATCH = 100
MAX_ID = 1024
"""Characters of an id that is a string."""

MAX_TIMEOUT = 1e9
"""Seconds; some thirty years."""

Id = Annotated[str, Meta(max_length=MAX_ID)] | int | float | None

_NO_PARAMS = Raw(b"{}")


class Request(msgspec.Struct):
    """A request, or without an id a notification. Other members are passed over."""

    jsonrpc: Literal["2.0"]
    method: str
    params: Raw = _NO_PARAMS
    id: Id | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Invalid:
    """What came instead of a message."""

    error: ErrorObject
    """The answer that it gets."""
    id: Id = None
    """Its id, where one could be read."""


class CallParams(msgspec.Struct):
    """`rpc.call`: a call with more than a method and parameters."""

    method: str
    params: Raw = _NO_PARAMS
    kind: Kind | None = None
    """What the caller takes the method for; None when it does not say."""
    timeout: Annotated[float, Meta(ge=0, le=MAX_TIMEOUT)] | None = None
    """Seconds, from now."""
    metadata: tuple[tuple[str, str], ...] = ()
    credit: Annotated[int, Meta(ge=0, le=MAX_GRANT)] | None = None
    """For the server's items, instead of INITIAL_CREDIT."""


class ItemParams(msgspec.Struct):
    """`rpc.item`: the next item of a stream, either way."""

    id: Id
    item: Raw


class IdParams(msgspec.Struct):
    """`rpc.end`: the client sends no more items. `rpc.cancel`: it wants no answer any more."""

    id: Id


class CreditParams(msgspec.Struct):
    """`rpc.credit`: that many more bytes of items may come, either way."""

    id: Id
    credit: Annotated[int, Meta(ge=1, le=MAX_GRANT)]


class MetadataParams(msgspec.Struct):
    """`rpc.metadata`: what goes with the response that follows."""

    id: Id
    metadata: tuple[tuple[str, str], ...]


class FromServer(msgspec.Struct):
    """What a client may be sent: a response, or a notification of the extension."""

    jsonrpc: Literal["2.0"]
    method: str | UnsetType = UNSET
    params: Raw = _NO_PARAMS
    id: Id | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET


class Success(msgspec.Struct):
    result: Any
    id: Id
    jsonrpc: str = "2.0"


class Failure(msgspec.Struct):
    error: ErrorObject
    id: Id
    jsonrpc: str = "2.0"


# Reading.


def read_requests(line: bytes) -> Request | Invalid | list[Request | Invalid]:
    """The message of one line, or the messages of a batch. Never raises."""
    if not line.isascii() and (fault := _utf8_fault(line)) is not None:
        return fault
    if line.lstrip()[:1] != b"[":
        return read_request(line)
    try:
        batch = decoder(list[Raw]).decode(line)
    except UNREADABLE as error:
        return Invalid(codes.parse_error(_why(error)))
    if not batch:
        return Invalid(codes.invalid_request("a batch holds at least one request"))
    if len(batch) > MAX_BATCH:
        return Invalid(codes.invalid_request(f"a batch holds at most {MAX_BATCH} requests"))
    return [read_request(text) for text in batch]


def read_request(text: bytes | Raw) -> Request | Invalid:
    """One request or notification. Never raises."""
    try:
        request: Request = decoder(Request).decode(text)
    except UNREADABLE as error:
        return _invalid(text, error)
    if memoryview(request.params)[0] not in b"{[":
        fault = codes.invalid_request("params are an object or an array")
        return Invalid(fault, None if request.id is UNSET else request.id)
    return request


def _invalid(text: bytes | Raw, error: Exception) -> Invalid:
    """Why `text` is no request. A wrong type is found before the end of the JSON was seen."""
    try:
        decoder(Raw).decode(text)
    except UNREADABLE as fault:
        return Invalid(codes.parse_error(_why(fault)))
    try:
        return Invalid(codes.invalid_request(_why(error)), decoder(IdParams).decode(text).id)
    except UNREADABLE:
        return Invalid(codes.invalid_request(_why(error)))


def _utf8_fault(line: bytes) -> Invalid | None:
    """JSON text passes unseen through msgspec.Raw, so its encoding is checked before."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return Invalid(codes.parse_error(_why(error)))
    return None


def read_from_server(line: bytes) -> FromServer | str:
    """One message for a client, or what is wrong with it."""
    try:
        if not line.isascii():
            line.decode()
        message: FromServer = decoder(FromServer).decode(line)
    except UNREADABLE as error:
        return _why(error)
    if message.method is UNSET and (message.result is UNSET) == (message.error is UNSET):
        return "a response has either a result or an error"
    return message


def answer_of(message: FromServer) -> Raw | RpcError:
    """What a response says: the result's text, or the failure."""
    members: dict[str, Any] = {"id": message.id, "result": message.result}
    if isinstance(message.error, ErrorObject):
        members = {"id": message.id, "error": msgspec.structs.asdict(message.error)}
    answer = jsonrpcclient.parse(members)
    if isinstance(answer, jsonrpcclient.Error):
        data = None if answer.data is UNSET else answer.data
        return codes.rpc_error_of(answer.code, answer.message, data)
    assert isinstance(answer, jsonrpcclient.Ok)
    text: Raw = answer.result
    return text


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else printable(str(error))


# Building.


def call(
    id: int, method: str, params: Any, kind: Kind, timeout: float | None, metadata: Metadata,
    credit: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The request `rpc.call`, ready to be encoded."""
    options: dict[str, Any] = {"method": method, "params": params, "kind": kind}
    if timeout is not None:
        options["timeout"] = timeout
    if metadata:
        options["metadata"] = metadata
    if credit is not None:
        options["credit"] = credit
    return jsonrpcclient.request(CALL, options, id=id)


def notification(method: str, **params: Any) -> dict[str, Any]:
    """A notification of the extension, ready to be encoded."""
    return jsonrpcclient.notification(method, params)
