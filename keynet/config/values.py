"""The small languages of single settings: `PORT=HOST:PORT`, `NODEID@HOST:PORT` and the like.

Pure values, each with `parse` and a `str` that parses back. What settings there are, and where
they come from, is in `model.py`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from keynet.address import Authority, NodeId, SocketAddress
from keynet.errors import ConfigError

UNIX_PREFIX = "unix:"
ANY: Literal["any"] = "any"
"""In place of allow rules: every node that proves its id may reach every exposed service."""

MAX_UNIX_PATH = 107
"""Bytes in sockaddr_un on Linux (103 on macOS, whose bind then says so itself)."""


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix socket's path in the file system."""

    path: str

    @classmethod
    def parse(cls, text: str) -> UnixPath:
        """Read `unix:PATH`."""
        path = text.removeprefix(UNIX_PREFIX)
        if path == text or not path or "\0" in path:
            raise ConfigError(f"expected unix:PATH, not {text!r}")
        if len(path.encode(errors="surrogateescape")) > MAX_UNIX_PATH:
            raise ConfigError(f"a Unix socket's path has at most {MAX_UNIX_PATH} bytes: {path!r}")
        return cls(path)

    def __str__(self) -> str:
        return UNIX_PREFIX + self.path


LocalAddress = Authority | UnixPath
"""Where something on this machine listens or is to listen."""


def local_address(text: str) -> LocalAddress:
    """Read `HOST:PORT` or `unix:PATH`."""
    if text.startswith(UNIX_PREFIX):
        return UnixPath.parse(text)
    return Authority.parse(text)


def is_loopback(address: LocalAddress) -> bool:
    """Whether only this machine can connect to it."""
    if isinstance(address, UnixPath):
        return True
    if address.host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def listen_address(text: str) -> SocketAddress:
    """Read the numeric `HOST:PORT` of a UDP socket; `localhost` is taken for 127.0.0.1."""
    authority = Authority.parse(text)
    if authority.host.lower() == "localhost":
        return SocketAddress("127.0.0.1", authority.port)
    try:
        return SocketAddress.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{error}; for every address write 0.0.0.0:PORT or [::]:PORT") from error


_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)


def is_protocol(text: str) -> bool:
    """Whether `text` may name a protocol that is built into nodes: never taken for a node id."""
    return _PROTOCOL.fullmatch(text) is not None


def service_port(text: str) -> int:
    """Read a port that a service may have: 1 to 65535 (0 is for built-in protocols)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ConfigError(f"a service's port is a number from 1 to 65535, not {text!r}")
    return int(text)


def check_peer_address(address: SocketAddress) -> None:
    """Raise ConfigError for an address that cannot be one peer's: datagrams there reach many."""
    ip = ipaddress.ip_address(address.host)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        raise ConfigError(f"{address.host} is a multicast or broadcast address, not a node's")
    if ip.is_unspecified or address.port == 0:
        raise ConfigError(f"{address} is not an address that can be reached")


@dataclass(frozen=True, slots=True)
class Service:
    """A local server that peers may be let in to, under a port of this node."""

    port: int
    target: LocalAddress

    @classmethod
    def parse(cls, text: str) -> Service:
        """Read `PORT=HOST:PORT` or `PORT=unix:PATH`."""
        port, equals, target = text.partition("=")
        if not equals:
            raise ConfigError(f"expected PORT=HOST:PORT or PORT=unix:PATH, not {text!r}")
        service = cls(service_port(port), local_address(target))
        if isinstance(service.target, Authority) and service.target.port == 0:
            raise ConfigError(f"a server does not listen on port 0: {text!r}")
        return service

    def __str__(self) -> str:
        return f"{self.port}={self.target}"


@dataclass(frozen=True, slots=True)
class Allow:
    """A node that may reach services of this one."""

    node_id: NodeId
    ports: frozenset[int] | None
    """The services it may reach; None for all of them."""

    @classmethod
    def parse(cls, text: str) -> Allow:
        """Read `NODEID` or `NODEID=PORT,…`."""
        node_id, equals, ports = text.partition("=")
        if not equals:
            return cls(NodeId.parse(node_id), None)
        return cls(NodeId.parse(node_id), frozenset(service_port(p) for p in ports.split(",")))

    def __str__(self) -> str:
        if self.ports is None:
            return str(self.node_id)
        return f"{self.node_id}={','.join(str(p) for p in sorted(self.ports))}"


_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class AllowCalls:
    """A node that may call methods of this one."""

    node_id: NodeId
    patterns: frozenset[str] | None
    """Each `service` or `service.*` (all its methods) or `service.method`; None for everything."""

    @classmethod
    def parse(cls, text: str) -> AllowCalls:
        """Read `NODEID` or `NODEID=PATTERN,…`."""
        node_id, equals, patterns = text.partition("=")
        if not equals:
            return cls(NodeId.parse(node_id), None)
        names = patterns.split(",")
        for name in names:
            if not _DOTTED.fullmatch(name.removesuffix(".*")):
                raise ConfigError(f"expected SERVICE or SERVICE.METHOD, not {name!r}")
        return cls(NodeId.parse(node_id), frozenset(names))

    def __str__(self) -> str:
        if self.patterns is None:
            return str(self.node_id)
        return f"{self.node_id}={','.join(sorted(self.patterns))}"


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """Where a service definition is: a Python module, and the name of the object in it."""

    module: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServiceObject:
        """Read `MODULE:NAME`."""
        module, colon, name = text.partition(":")
        if not colon or not all(_DOTTED.fullmatch(part) for part in (module, name)):
            raise ConfigError(f"expected MODULE:NAME, such as greeter:service, not {text!r}")
        return cls(module, name)

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


@dataclass(frozen=True, slots=True)
class StaticPeer:
    """A peer whose UDP address is known outright."""

    node_id: NodeId
    address: Authority
    """Numeric, or a name that is looked up at every dial."""

    @classmethod
    def parse(cls, text: str) -> StaticPeer:
        """Read `NODEID@HOST:PORT`."""
        node_id, at, address = text.partition("@")
        if not at:
            raise ConfigError(f"expected NODEID@HOST:PORT, not {text!r}")
        peer = cls(NodeId.parse(node_id), Authority.parse(address))
        if peer.address.port == 0:
            raise ConfigError(f"a peer does not listen on port 0: {text!r}")
        with contextlib.suppress(ValueError):  # a name: what it stands for is seen at the dial
            check_peer_address(SocketAddress(peer.address.host, peer.address.port))
        return peer

    def __str__(self) -> str:
        return f"{self.node_id}@{self.address}"


@dataclass(frozen=True, slots=True)
class Forward:
    """A local port that leads to one service, or built-in protocol, of one peer."""

    local: LocalAddress
    node_id: NodeId
    service: int | str
    """The port, or the protocol's name, such as `jsonrpc`."""

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read `LOCAL=NODEID:PORT` or `LOCAL=NODEID:PROTOCOL`.

        LOCAL is `PORT` (of 127.0.0.1), `HOST:PORT` or `unix:PATH`.
        """
        local, equals, remote = text.rpartition("=")
        node_id, colon, service = remote.partition(":")
        if not equals or not colon:
            raise ConfigError(f"expected LOCAL=NODEID:PORT or :PROTOCOL, not {text!r}")
        on_loopback = local.isascii() and local.isdigit()
        where = local_address(f"127.0.0.1:{local}" if on_loopback else local)
        named = service if is_protocol(service) else service_port(service)
        return cls(where, NodeId.parse(node_id), named)

    def __str__(self) -> str:
        return f"{self.local}={self.node_id}:{self.service}"


def proxy_token(text: str) -> str:
    """Check a token that goes into an HTTP header and a URL's password as it is."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError("a proxy token is made of printable ASCII characters without spaces")
    return text
