"""Messages of service definitions on gRPC's wire: MessagePack of the params, items and results.

The first message of every call is its parameters, a map by name. A client that streams sends its
items after them, one a message, and then one empty message, which is no MessagePack: grpcio tells
a server of a broken connection as of an end, and half a stream must not pass for a whole one.
Nothing here knows grpcio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from keynet.rpc.status import Status, rpc_error

END_OF_ITEMS = b""
"""A client's last message when it streams."""

_encoder = msgspec.msgpack.Encoder()

_ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_DECODE_ERRORS = (ValueError, RecursionError, msgspec.MsgspecError)

Decode = Callable[[bytes], Any]


def encode(value: Any, limit: int, what: str) -> bytes:
    """`value` as one message of at most `limit` bytes.

    Raises RpcError: RESOURCE_EXHAUSTED when it is larger, INVALID_ARGUMENT when it cannot be
    carried.
    """
    try:
        data = _encoder.encode(value)
    except _ENCODE_ERRORS as error:
        raise rpc_error(Status.INVALID_ARGUMENT, f"{what} cannot be carried: {error}") from error
    if len(data) > limit:
        raise rpc_error(
            Status.RESOURCE_EXHAUSTED, f"{what} has {len(data)} bytes, more than {limit}"
        )
    return data


def decoder(type_: Any, what: str, fault: Status) -> Decode:
    """A function from a message to a value of `type_`, which raises RpcError of status `fault`."""
    typed = msgspec.msgpack.Decoder(type_)

    def decode(data: bytes) -> Any:
        try:
            return typed.decode(data)
        except _DECODE_ERRORS as error:
            raise rpc_error(fault, f"{what}: {error}") from error

    return decode
