"""STUN Binding messages between nodes, over aioice's codec. Pure: bytes in, values out.

A **ping** is a Binding request with USERNAME `<to>:<from>`, MESSAGE-INTEGRITY and FINGERPRINT; a
**pong** is its success response, whose XOR-MAPPED-ADDRESS is where the ping came from. Their key
is the two nodes' own (`keynet.identity.agreement.ping_key`): nobody between them reads anything
into a ping, or makes one. A Binding request without credentials is a stranger's question for its
own address, which seeds answer (RFC 8489 section 12).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from aioice import stun

from keynet.address import NodeId, SocketAddress
from keynet.engine import Buffer
from keynet.errors import ConfigError
from keynet.stun.structure import HEADER, has_fingerprint, is_stun

TRANSACTION_ID_BYTES = 12
MAX_MESSAGE = 65507
PLAIN_PING = 164
"""Bytes of a ping without padding."""

_PADDING = "PADDING"

# RFC 5780 section 7.6; aioice's table lacks it.
stun.ATTRIBUTES_BY_NAME.setdefault(_PADDING, (0x0026, _PADDING, bytes, bytes))
stun.ATTRIBUTES_BY_TYPE.setdefault(0x0026, stun.ATTRIBUTES_BY_NAME[_PADDING])


@dataclass(frozen=True, slots=True)
class Ping:
    """An authenticated-to-be Binding request: check it before you believe a word of it."""

    transaction_id: bytes
    to: NodeId
    sender: NodeId
    nominated: bool
    """The sender, which controls, has chosen this path (RFC 8445 section 7.1.1)."""
    size: int
    """Bytes of the datagram: what has come through in one piece."""
    _message: stun.Message = field(repr=False, compare=False)

    def is_authentic(self, key: bytes) -> bool:
        """Whether whoever made it has `key`. Constant time."""
        return self._message.check_message_integrity(key)


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping. Check it with the key of the ping that it answers."""

    transaction_id: bytes
    mapped: SocketAddress
    """Where the ping came from, as the peer saw it: this node's address from outside."""
    _message: stun.Message = field(repr=False, compare=False)

    def is_authentic(self, key: bytes) -> bool:
        """Whether whoever made it has `key`. Constant time."""
        return self._message.check_message_integrity(key)


@dataclass(frozen=True, slots=True)
class Question:
    """A Binding request without credentials: its sender wants to know its own address."""

    transaction_id: bytes


@dataclass(frozen=True, slots=True)
class Reflection:
    """A Binding response without credentials: what a STUN server saw. Anybody can forge it."""

    transaction_id: bytes
    mapped: SocketAddress
    other: SocketAddress | None = None
    """The server's other address (RFC 5780 section 7.4), if it has one."""


def ping(
    transaction_id: bytes,
    to: NodeId,
    sender: NodeId,
    key: bytes,
    *,
    nominate: bool = False,
    size: int = 0,
) -> bytes:
    """A ping of at least `size` bytes (a multiple of 4 is met exactly, up to MAX_MESSAGE)."""
    attributes: dict[str, object] = {"USERNAME": f"{to}:{sender}"}
    if nominate:
        attributes["USE-CANDIDATE"] = None
    message = _request(transaction_id, attributes)
    if size > PLAIN_PING:
        bare = PLAIN_PING + (4 if nominate else 0)
        padding = max(0, min(size, MAX_MESSAGE) - bare - 4)
        message.attributes[_PADDING] = bytes(padding - padding % 4)
    message.add_message_integrity(key)
    return bytes(message)


def pong(of: Ping, mapped: SocketAddress, key: bytes) -> bytes:
    """The answer to `of`, which came from `mapped`."""
    message = _response(of.transaction_id, mapped)
    message.add_message_integrity(key)
    return bytes(message)


def question(transaction_id: bytes) -> bytes:
    """Ask a STUN server for this socket's address from outside."""
    message = _request(transaction_id, {})
    message.add_fingerprint()
    return bytes(message)


def reflection(of: Question, mapped: SocketAddress, other: SocketAddress | None = None) -> bytes:
    """Tell a stranger where its question came from. At most three times as long as that."""
    message = _response(of.transaction_id, mapped)
    if other is not None:
        message.attributes["OTHER-ADDRESS"] = tuple(other)
    message.add_fingerprint()
    return bytes(message)


def read(datagram: Buffer) -> Ping | Pong | Question | Reflection | None:
    """What a datagram says, if it is one of the four; None for all else. Never raises."""
    if not is_stun(datagram):
        return None
    try:
        message = stun.parse_message(bytes(datagram))
        if "MESSAGE-INTEGRITY" in message.attributes and not has_fingerprint(datagram):
            return None
        return _understood(message, len(datagram))
    except (ValueError, ConfigError, struct.error):
        return None


def _understood(message: stun.Message, size: int) -> Ping | Pong | Question | Reflection | None:
    if message.message_method is not stun.Method.BINDING:
        return None
    attributes = message.attributes
    authenticated = "MESSAGE-INTEGRITY" in attributes
    if message.message_class is stun.Class.REQUEST:
        if not authenticated:
            return Question(message.transaction_id) if size <= _LONGEST_QUESTION else None
        to, _, sender = str(attributes.get("USERNAME", "")).partition(":")
        nominated = "USE-CANDIDATE" in attributes
        ids = NodeId.parse(to), NodeId.parse(sender)
        return Ping(message.transaction_id, *ids, nominated, size, message)
    if message.message_class is stun.Class.RESPONSE:
        mapped = _address(attributes.get("XOR-MAPPED-ADDRESS") or attributes.get("MAPPED-ADDRESS"))
        if mapped is None:
            return None
        if authenticated:
            return Pong(message.transaction_id, mapped, message)
        return Reflection(message.transaction_id, mapped, _address(attributes.get("OTHER-ADDRESS")))
    return None


_LONGEST_QUESTION = HEADER + 512
"""Bytes; room for what STUN clients add (SOFTWARE, CHANGE-REQUEST, PADDING apart)."""


def _address(value: tuple[str, int] | None) -> SocketAddress | None:
    return SocketAddress(*value) if value is not None else None


def _request(transaction_id: bytes, attributes: dict[str, object]) -> stun.Message:
    return stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id, attributes)


def _response(transaction_id: bytes, mapped: SocketAddress) -> stun.Message:
    attributes: dict[str, object] = {
        "XOR-MAPPED-ADDRESS": (mapped.host.partition("%")[0], mapped.port)
    }
    return stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id, attributes)
