"""Names of things on the network: NodeId, SocketAddress, Authority. Pure values, no look-ups."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from keynet.errors import ConfigError

NODE_ID_BYTES = 32
NODE_ID_CHARS = 52
NODE_DOMAIN = "keynet"
"""`<nodeid>.keynet` is how a CONNECT names a node; the id is exactly one DNS label."""


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node's name: its Ed25519 public key.

    Written as 52 lower-case base32hex characters (RFC 4648 section 7) without padding. Reading
    ignores case, because DNS names and URLs do.
    """

    public_key: bytes
    """32 bytes, RFC 8032 section 5.1.5."""

    def __post_init__(self) -> None:
        if len(self.public_key) != NODE_ID_BYTES:
            raise ConfigError(f"a node id has {NODE_ID_BYTES} bytes, not {len(self.public_key)}")

    @classmethod
    def parse(cls, text: str) -> NodeId:
        """The id that `text` writes; ConfigError when it is none."""
        if len(text) != NODE_ID_CHARS:
            raise ConfigError(f"a node id has {NODE_ID_CHARS} characters, not {len(text)}")
        try:
            raw = base64.b32hexdecode(text.upper().encode("ascii") + b"====")
        except ValueError as error:
            raise ConfigError(f"not a node id (letters a-v and digits only): {text!r}") from error
        node_id = cls(raw)
        if str(node_id) != text.lower():
            raise ConfigError(f"not a node id (its last character must be 0 or g): {text!r}")
        return node_id

    def __str__(self) -> str:
        return base64.b32hexencode(self.public_key).decode("ascii").rstrip("=").lower()

    def __repr__(self) -> str:
        return f"NodeId({self})"

    @property
    def short(self) -> str:
        """The first ten characters: for people's eyes only, never to compare by."""
        return str(self)[:10]


class SocketAddress(NamedTuple):
    """A UDP or TCP address with a numeric host. A tuple, because it is a key on the hot path."""

    host: str
    """An IPv4 or IPv6 address in its canonical text; a link-local one keeps its %zone."""
    port: int

    @classmethod
    def parse(cls, text: str) -> SocketAddress:
        """Read `1.2.3.4:5` or `[::1]:5`; ConfigError when it is neither."""
        authority = Authority.parse(text)
        try:
            host = ipaddress.ip_address(authority.host)
        except ValueError as error:
            what = f"not a numeric IP address: {authority.host!r} in {text!r}"
            raise ConfigError(what) from error
        return cls(str(host), authority.port)

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Authority:
    """A host (name or address, without brackets) and a port (RFC 3986 section 3.2)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Authority:
        """Split on the last colon, so that an unbracketed IPv6 host (grpc-js) is read as well."""
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ConfigError(f"expected HOST:PORT, not {text!r}")
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise ConfigError(f"a port is a number from 0 to 65535, not {port!r}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not host or any(c in "[]/@?# " or not c.isprintable() for c in host):
            raise ConfigError(f"not a host name or address: {host!r}")
        return cls(host, int(port))

    @property
    def node_id(self) -> NodeId | None:
        """The id when the host is `<nodeid>.keynet`; None for any other host.

        Raises ConfigError when the domain is right but the label is no node id.
        """
        label, dot, domain = self.host.rpartition(".")
        if not dot or domain.lower() != NODE_DOMAIN:
            return None
        return NodeId.parse(label)

    @classmethod
    def of_node(cls, node_id: NodeId, port: int) -> Authority:
        return cls(f"{node_id}.{NODE_DOMAIN}", port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
