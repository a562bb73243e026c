"""The verbs of a node's control socket: what it is, has and is connected to, as JSON types."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keynet
from keynet.address import NodeId, SocketAddress
from keynet.control.changes import changes
from keynet.control.reaching import describe_reaching, reaching
from keynet.control.server import Tunnel
from keynet.control.tunnel import VERB as TUNNEL
from keynet.errors import KeynetError
from keynet.rpc.proxy.audit import Audit, ProxiedConnection
from keynet.rpc.status import from_network

if TYPE_CHECKING:
    from keynet.node import Node
    from keynet.transport.connection import Connection

MAX_CONNECTIONS = 1000
"""Connections told of one by one: the answer must fit into a line."""


def verbs(node: Node) -> dict[str, Any]:
    """The verbs of a node's control socket."""

    async def status(_: Mapping[str, Any]) -> Any:
        return describe(node)

    async def rotate(_: Mapping[str, Any]) -> Any:
        await node.rotate()
        return node.identity.facts()

    async def audit(params: Mapping[str, Any]) -> Any:
        return _audited(node, params)

    async def tunnel(params: Mapping[str, Any]) -> Any:
        return await _tunnel_to(node, params)

    return {
        "status": status,
        "audit": audit,
        "rotate": rotate,
        TUNNEL: tunnel,
        **changes(node),
        **reaching(node),
    }


async def _tunnel_to(node: Node, params: Mapping[str, Any]) -> Tunnel:
    """A stream to the built-in `protocol` of the node `node_id`; this node's own, too."""
    node_id = NodeId.parse(str(params.get("node_id")))
    try:
        stream = await node.network.open_stream(node_id, str(params.get("protocol")))
    except KeynetError as error:
        raise from_network(error) from error
    peer = stream.connection.peer
    return Tunnel({"peer": str(peer.node_id), "certificates": peer.certificates_pem()}, stream)


def _audited(node: Node, params: Mapping[str, Any]) -> dict[str, Any]:
    """The proxied connections: all, or those of one `peer` (a node id) or one `client` (an
    address of this machine, as a local server sees it)."""
    sides = {"to_peers": node.forward_proxy.audit, "from_peers": node.reverse_proxy.audit}
    return {side: [_tunnel(one) for one in _found(of, params)] for side, of in sides.items()}


def _found(audit: Audit, params: Mapping[str, Any]) -> Sequence[ProxiedConnection]:
    if "client" in params:
        one = audit.by_client(SocketAddress.parse(str(params["client"])))
        return [one] if one is not None else []
    if "peer" in params:
        return audit.by_peer(NodeId.parse(str(params["peer"])))
    return audit.connections()[:MAX_CONNECTIONS]


def _tunnel(one: ProxiedConnection) -> dict[str, Any]:
    return {
        "peer": str(one.peer),
        "matched": str(one.matched),
        "lineage": [str(node_id) for node_id in one.lineage],
        "certificates": one.certificates,
        "transport": one.transport,
        "remote": str(one.remote),
        "local": str(one.local) if one.local is not None else None,
        "service": one.service,
        "client": str(one.client) if one.client is not None else None,
        "opened_at": one.opened_at,
        "bytes_to_peer": one.bytes_to_peer,
        "bytes_from_peer": one.bytes_from_peer,
    }


def describe(node: Node) -> dict[str, Any]:
    """Everything about the node that its owner may know, the proxy token included."""
    connections = node.host.connections
    return {
        "version": keynet.__version__,
        "process": os.getpid(),
        "node_id": str(node.node_id),
        "lineage": [str(node_id) for node_id in node.identity.lineage],
        "certificate_expires_at": node.identity.expires_at.isoformat(),
        "udp": [str(address) for address in node.endpoint.addresses],
        "transport": node.config.transport,
        "proxy": str(node.proxy) if node.proxy is not None else None,
        "proxy_token": node.proxy_token,
        "services": {str(s.port): str(s.target) for s in node.reverse_proxy.services},
        "allow": _allowed(node),
        "rpc": _rpc(node),
        "peers": [str(peer) for peer in node.statics if peer.node_id in node.statics.to_ping],
        **describe_reaching(node),
        "connections": [_connection(one) for one in connections[:MAX_CONNECTIONS]],
        "connection_count": len(connections),
        "tunnels": {
            "to_peers": len(node.forward_proxy.audit),
            "from_peers": len(node.reverse_proxy.audit),
        },
        "socket": node.endpoint.stats(),
    }


def _rpc(node: Node) -> dict[str, Any]:
    access, dispatcher = node.calls, node.dispatcher
    return {
        "services": {service.name: len(service) for service in dispatcher.services},
        "allow": "any" if access.anyone else [str(rule) for rule in access],
        "running": dispatcher.calls,
        "bindings": {
            name: {"taken": dispatcher.admitted[name], "refused": dispatcher.refused[name]}
            for name in node.rpc.bindings
        },
    }


def _allowed(node: Node) -> list[str] | str:
    access = node.reverse_proxy.access
    return "any" if access.anyone else [str(rule) for rule in access]


def _connection(connection: Connection) -> dict[str, Any]:
    return {
        "peer": str(connection.peer.node_id),
        "lineage": [str(node_id) for node_id in connection.peer.lineage],
        "transport": connection.transport,
        "remote": str(connection.remote),
        "local": str(connection.local) if connection.local is not None else None,
        "streams": connection.stream_count,
        "dialed": connection.dialed,
        "age_seconds": round(connection.loop.time() - connection.opened_at, 3),
        "stats": connection.stats(),
    }
