"""What passes on the stream of one call: messages in msgpack, each after its length.

The client sends `Open`, then items, and ends its bytes when it has no more. The server sends items,
then `Done`, and ends its bytes. A reset of the stream is a cancellation.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from keynet.errors import ConnectionLost, RemoteProtocolError
from keynet.rpc.api import ByteStream, Metadata
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error

LENGTH = struct.Struct(">I")
ROOM_FOR_HEAD = 65536
"""Bytes that a message may have besides its params, item or result."""


class Open(msgspec.Struct, array_like=True, tag="open"):
    """Begins a call."""

    method: str
    params: msgspec.Raw
    kind: Kind
    """What the caller takes the method for."""
    timeout: float | None
    """Seconds."""
    metadata: Metadata


class Item(msgspec.Struct, array_like=True, tag="item"):
    """One item of a stream, either way."""

    value: msgspec.Raw


class Done(msgspec.Struct, array_like=True, tag="done"):
    """How a call ended."""

    status: Status
    message: str = ""
    details: bytes = b""
    metadata: Metadata = ()
    result: msgspec.Raw = msgspec.Raw(b"\xc0")


Message = Open | Item | Done

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(value: Any, limit: int) -> msgspec.Raw:
    """Encode params, an item or a result. Raises RpcError: RESOURCE_EXHAUSTED or INTERNAL."""
    try:
        data = msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise rpc_error(Status.INTERNAL, "a value cannot be encoded") from error
    check_size(len(data), limit)
    return msgspec.Raw(data)


def unpack(raw: msgspec.Raw, wanted: Any, limit: int, fault: Status) -> Any:
    """Decode and check them. Raises RpcError: RESOURCE_EXHAUSTED, or `fault`."""
    check_size(len(memoryview(raw)), limit)
    try:
        return msgspec.msgpack.decode(raw, type=wanted)
    except msgspec.DecodeError as error:
        raise rpc_error(fault, str(error)) from error


def check_size(size: int, limit: int) -> None:
    if size > limit:
        text = f"a message of {size} bytes is larger than {limit}"
        raise rpc_error(Status.RESOURCE_EXHAUSTED, text)


class Frames:
    """Messages over a stream. Reading may be cancelled and goes on where it was."""

    def __init__(self, stream: ByteStream, limit: int, begun: bytes = b"") -> None:
        self.stream = stream
        self.limit = limit
        self._received = bytearray(begun)

    async def write(self, message: Message) -> None:
        """Send it whole, then wait for room: the stream's own back-pressure is the call's."""
        data = msgspec.msgpack.encode(message)
        self.stream.write(LENGTH.pack(len(data)) + data)
        await self.stream.drain()

    async def read(self) -> Message | None:
        """The next message; None at the clean end. Raises KeynetError."""
        if not await self._received_up_to(LENGTH.size):
            return None
        (size,) = LENGTH.unpack_from(self._received)
        check_size(size, self.limit + ROOM_FOR_HEAD)
        end = LENGTH.size + size
        if not await self._received_up_to(end):
            return None
        data = bytes(self._received[LENGTH.size : end])
        del self._received[:end]
        try:
            return _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise RemoteProtocolError("that is no message of a call") from error

    async def _received_up_to(self, size: int) -> bool:
        while len(self._received) < size:
            data = await self.stream.read()
            if not data and self._received:
                raise ConnectionLost("the peer's bytes end within a message")
            if not data:
                return False
            self._received += data
        return True
