"""Values as JSON text and back, by the types of their methods. Foreign exceptions end here.

What msgspec says of a value that does not fit names the path and the type, never the value.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import msgspec

from keynet.errors import RpcError
from keynet.rpc.method import Method
from keynet.rpc.status import Status, rpc_error

_encoder = msgspec.json.Encoder()

UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: not JSON, not UTF-8, not of that type; nested too deep."""

_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def encode(value: Any) -> bytes:
    """One line of JSON. Raises RpcError INTERNAL for what JSON cannot say."""
    try:
        text = _encoder.encode(value)
    except _UNWRITABLE as error:
        raise rpc_error(Status.INTERNAL, f"the value cannot be written as JSON: {error}") from error
    # Line ends come of msgspec.Raw alone, and outside of strings there they are mere blanks.
    return text.translate(_ONE_LINE) if b"\n" in text else text


def encode_message(envelope: Any, message: Any, limit: int) -> bytes:
    """`envelope`, which holds `message`, as a line. Raises RpcError RESOURCE_EXHAUSTED when the
    message alone is longer than `limit` bytes."""
    line = encode(envelope)
    if len(line) > limit and (size := len(encode(message))) > limit:
        raise too_large(size, limit)
    return line


def too_large(size: int, limit: int) -> RpcError:
    text = f"a message of {size} bytes is more than the {limit} that are allowed"
    return rpc_error(Status.RESOURCE_EXHAUSTED, text)


def decode_params(method: Method[..., Any], text: msgspec.Raw) -> Any:
    """The method's params struct. Raises RpcError INVALID_ARGUMENT."""
    kind: Any = method.params
    try:
        if memoryview(text)[0] == ord("["):
            text = _named(method, text)
        return decoder(kind).decode(text)
    except UNREADABLE as error:
        raise rpc_error(Status.INVALID_ARGUMENT, f"parameters: {_why(error)}") from error


def _named(method: Method[..., Any], text: msgspec.Raw) -> msgspec.Raw:
    """Parameters by position as parameters by name, in the order of the signature."""
    values = decoder(list[msgspec.Raw]).decode(text)
    names = msgspec.structs.fields(method.params)
    if len(values) > len(names):
        raise ValueError(f"at most {len(names)} are taken, {len(values)} came")
    pairs = zip((name.encode_name for name in names), values, strict=False)
    return msgspec.Raw(_encoder.encode(dict(pairs)))


def decode_item(method: Method[..., Any], text: msgspec.Raw) -> Any:
    """One item of the client's stream. Raises RpcError INVALID_ARGUMENT."""
    try:
        return decoder(method.item).decode(text)
    except UNREADABLE as error:
        raise rpc_error(Status.INVALID_ARGUMENT, f"stream item: {_why(error)}") from error


def decode_result(method: Method[..., Any], text: msgspec.Raw) -> Any:
    """The result, or an item of the server's stream. Raises RpcError INTERNAL."""
    try:
        return decoder(method.result).decode(text)
    except UNREADABLE as error:
        message = f"the peer's result of {method.full_name}: {_why(error)}"
        raise rpc_error(Status.INTERNAL, message) from error


@lru_cache(maxsize=1024)
def decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
