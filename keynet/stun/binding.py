"""STUN Binding messages between nodes, over aioice's codec. Pure: bytes in, values out.

A **ping** is a Binding request with USERNAME `<to>:<from>`, MESSAGE-INTEGRITY and FINGERPRINT; a
**pong** is its success response, whose XOR-MAPPED-ADDRESS is where the ping came from. Their key
is the two nodes' own (`keynet.identity.agreement.ping_key`): nobody between them reads anything
into a ping, or makes one. A Binding request without credentials is a stranger's question for its
own address, which seeds answer (RFC 8489 section 12); it may ask for an answer from another of the
server's addresses (RFC 5780), and be padded, to find what its NAT and its path let through.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from aioice import stun

from keynet.address import NodeId, SocketAddress
from keynet.engine import Buffer
from keynet.errors import ConfigError
from keynet.stun.structure import fingerprints, has_fingerprint, is_stun

TRANSACTION_ID_BYTES = 12
MAX_MESSAGE = 65507
PLAIN_PING = 164
"""Bytes of a ping without padding."""
MAX_GAIN = 3
"""An answer to a stranger has at most so many times the bytes of its question."""

_PADDING = "PADDING"
_CHANGE_ADDRESS, _CHANGE_PORT = 0x04, 0x02
"""In CHANGE-REQUEST (RFC 5780 section 7.2)."""

_ATTRIBUTE_HEADER = 4
_FINGERPRINT_BYTES = 8

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
    size: int
    """Bytes of the datagram: what has come through in one piece, and what an answer may repay."""
    change_address: bool = False
    """It wants its answer from the server's other IP address (RFC 5780 section 7.2)."""
    change_port: bool = False
    """It wants its answer from the server's other port."""


@dataclass(frozen=True, slots=True)
class Reflection:
    """A Binding response without credentials: what a STUN server saw. Anybody can forge it."""

    transaction_id: bytes
    mapped: SocketAddress
    other: SocketAddress | None = None
    """The server's other address and port (RFC 5780 section 7.4), if it has them."""


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


def question(
    transaction_id: bytes,
    *,
    change_address: bool = False,
    change_port: bool = False,
    size: int = 0,
) -> bytes:
    """Ask a STUN server for this socket's address from outside, in at least `size` bytes."""
    message = _request(transaction_id, {})
    if change_address or change_port:
        flags = _CHANGE_ADDRESS * change_address | _CHANGE_PORT * change_port
        message.attributes["CHANGE-REQUEST"] = flags
    bare = len(bytes(message)) + _FINGERPRINT_BYTES + _ATTRIBUTE_HEADER
    if size >= bare:
        message.attributes[_PADDING] = bytes(size - bare - (size - bare) % 4)
    message.add_fingerprint()
    return bytes(message)


def reflection(
    of: Question,
    mapped: SocketAddress,
    *,
    origin: SocketAddress | None = None,
    other: SocketAddress | None = None,
) -> bytes:
    """Tell a stranger where its question came from; at most MAX_GAIN times as long as that.

    `other` and `origin` (where the answer is sent from) are RFC 5780's: left out when they would
    make it longer.
    """
    message = _response(of.transaction_id, mapped)
    room = MAX_GAIN * of.size - _FINGERPRINT_BYTES
    for name, address in (("OTHER-ADDRESS", other), ("RESPONSE-ORIGIN", origin)):
        if address is not None:
            message.attributes[name] = (address.host.partition("%")[0], address.port)
            if len(bytes(message)) > room:
                del message.attributes[name]
    message.add_fingerprint()
    return bytes(message)


def is_request(datagram: Buffer) -> bool:
    """Whether a datagram of this module's making asks, rather than answers."""
    return datagram[0] == 0


def read(datagram: Buffer) -> Ping | Pong | Question | Reflection | None:
    """What a datagram says, if it is one of the four; None for all else. Never raises."""
    if not is_stun(datagram) or fingerprints(datagram) > 1:
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
            flags = int(attributes.get("CHANGE-REQUEST", 0))
            changes = bool(flags & _CHANGE_ADDRESS), bool(flags & _CHANGE_PORT)
            return Question(message.transaction_id, size, *changes)
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


def _address(value: tuple[str, int] | None) -> SocketAddress | None:
    return SocketAddress(*value) if value is not None else None


def _request(transaction_id: bytes, attributes: dict[str, object]) -> stun.Message:
    return stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id, attributes)


def _response(transaction_id: bytes, mapped: SocketAddress) -> stun.Message:
    attributes: dict[str, object] = {
        "XOR-MAPPED-ADDRESS": (mapped.host.partition("%")[0], mapped.port)
    }
    return stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id, attributes)
