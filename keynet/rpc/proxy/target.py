"""What stands after CONNECT: the forms of a target, read and checked. Pure but for `locate`.

The forms, on the wire (docs/protocol.md says the same):

- `<nodeid>.keynet:PORT`: service PORT of that node; port 0 is its only exposed service.
- `HOST:PORT/?nodeId=<nodeid>[&service=PORT]`: HOST:PORT is the node's UDP address, and the service
  is its only exposed one unless it is named. HOST is an IPv4 address, an IPv6 address with or
  without brackets, or a name, which this side's resolver looks up at every CONNECT.
- `<name>.<nodeid>.keynet:0`: a protocol built into that node, such as `jsonrpc`.
- `<name>.keynet:0`: the same of the node that is asked; only between nodes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from keynet.address import NODE_DOMAIN, Authority, NodeId, SocketAddress
from keynet.config.values import check_peer_address, is_protocol, service_port
from keynet.errors import ConfigError, LookupFailed
from keynet.rpc.proxy.api import ONLY_SERVICE, Resolver, Target

MAX_TARGET = 1024
"""Characters; the longest real one has about 380."""


@dataclass(frozen=True, slots=True)
class ClientTarget:
    """A client's target before its host, if any, has been looked up."""

    node_id: NodeId
    port: int | None
    host: Authority | None = None
    builtin: str | None = None


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in protocol of the node that is asked."""

    name: str


def parse_target(text: str) -> ClientTarget:
    """Read what a client of the forward proxy may ask for. Raises ConfigError, saying why not."""
    if len(text) > MAX_TARGET:
        raise ConfigError(f"a target has at most {MAX_TARGET} characters")
    if not text.isascii() or not text.isprintable():
        raise ConfigError("a target is made of printable ASCII characters")
    where, slash, query = text.partition("/")
    if slash:
        return _with_address(Authority.parse(where), query)
    of_node = _builtin_of_node(Authority.parse(where))
    if of_node is not None:
        return of_node
    named = parse_authority(where)
    if isinstance(named, Builtin):
        raise ConfigError(f"say whose: {named.name}.<nodeid>.{NODE_DOMAIN}:{ONLY_SERVICE}")
    return named


def parse_authority(text: str) -> ClientTarget | Builtin:
    """Read what may stand in the head between two nodes. Raises ConfigError."""
    authority = Authority.parse(text)
    name, _, domain = authority.host.lower().rpartition(".")
    if domain == NODE_DOMAIN and is_protocol(name):
        return Builtin(_without_port(name, authority))
    node_id = authority.node_id
    if node_id is None:
        raise ConfigError(
            f"expected <nodeid>.{NODE_DOMAIN}:PORT or HOST:PORT/?nodeId=<nodeid>, not {text!r}"
        )
    return ClientTarget(node_id, _port(authority.port))


def wire_authority(target: Target) -> str:
    """What this side asks the peer for."""
    if target.builtin is not None:
        return str(Authority(f"{target.builtin}.{NODE_DOMAIN}", ONLY_SERVICE))
    port = ONLY_SERVICE if target.port is None else target.port
    return str(Authority.of_node(target.node_id, port))


async def locate(wanted: ClientTarget, resolve: Resolver) -> Target:
    """Look up the host, if there is one. Raises ConfigError (unusable address) or LookupFailed."""
    if wanted.host is None:
        return Target(wanted.node_id, None, wanted.port, wanted.builtin)
    host, port = wanted.host.host, wanted.host.port
    try:
        found: Sequence[SocketAddress] = [SocketAddress(str(ipaddress.ip_address(host)), port)]
    except ValueError:
        found = await resolve(host, port)
        if not found:
            raise LookupFailed(f"no address is known for {host}") from None
    check_peer_address(found[0])
    return Target(wanted.node_id, found[0], wanted.port)


def _with_address(host: Authority, query: str) -> ClientTarget:
    if not query.startswith("?"):
        raise ConfigError("expected HOST:PORT/?nodeId=<nodeid>")
    try:
        fields = parse_qsl(
            query[1:],
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=2,
            errors="strict",
        )
    except ValueError as error:
        raise ConfigError(f"not a query of nodeId and service: {error}") from error
    values = dict(fields)
    if len(values) != len(fields) or not {"nodeId"} <= values.keys() <= {"nodeId", "service"}:
        raise ConfigError("expected HOST:PORT/?nodeId=<nodeid>, then &service=PORT if need be")
    node_id = NodeId.parse(values["nodeId"])
    if "service" not in values:
        return ClientTarget(node_id, None, host)
    return ClientTarget(node_id, service_port(values["service"]), host)


def builtin_authority(node_id: NodeId, name: str) -> Authority:
    """What a client of the forward proxy asks for to reach that node's built-in protocol."""
    return Authority(f"{name}.{node_id}.{NODE_DOMAIN}", ONLY_SERVICE)


def _builtin_of_node(authority: Authority) -> ClientTarget | None:
    name, _, rest = authority.host.lower().partition(".")
    if not is_protocol(name) or "." not in rest:
        return None
    node_id = Authority(rest, authority.port).node_id
    if node_id is None:
        return None
    return ClientTarget(node_id, None, builtin=_without_port(name, authority))


def _without_port(name: str, authority: Authority) -> str:
    if authority.port != ONLY_SERVICE:
        raise ConfigError(f"the built-in protocol {name} has port {ONLY_SERVICE}")
    return name


def _port(port: int) -> int | None:
    return None if port == ONLY_SERVICE else port
