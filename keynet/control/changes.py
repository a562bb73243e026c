"""Verbs that change a running node: who may reach and call what, what is exposed, known peers.

Each verb is one of the node's tables, with the actions `add`, `remove` and `list`; every answer is
the table as it is then, written as the setting of the same name. Nothing is written to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keynet.address import NodeId
from keynet.config import Allow, AllowCalls, Service, StaticPeer
from keynet.config.values import ANY, service_port
from keynet.control.server import Verb
from keynet.errors import ConfigError

if TYPE_CHECKING:
    from keynet.node import Node
    from keynet.node.statics import Statics
    from keynet.rpc.access import CallAccess
    from keynet.rpc.proxy.services import Access, Services


@dataclass(frozen=True, slots=True)
class Table:
    """One of a node's tables, in the language of its setting. The functions raise ConfigError."""

    add: Callable[[str], None]
    remove: Callable[[str], None]
    written: Callable[[], list[str]]


def changes(node: Node) -> dict[str, Verb]:
    """The verbs by their names."""
    tables = {
        "allow": _access(node.reverse_proxy.access, Allow.parse),
        "allow-call": _access(node.calls, AllowCalls.parse),
        "expose": _services(node.reverse_proxy.services),
        "peer": _peers(node.statics),
    }
    return {name: _verb(table) for name, table in tables.items()}


def _verb(table: Table) -> Verb:
    async def verb(params: Mapping[str, Any]) -> Any:
        match params.get("action"), params.get("value"):
            case "add", str() as value:
                table.add(value)
            case "remove", str() as value:
                table.remove(value)
            case "list", None:
                pass
            case _:
                raise ConfigError("expected an action: add or remove with a value, or list")
        return table.written()

    return verb


def _access(access: Access | CallAccess, parse: Callable[[str], Any]) -> Table:
    def add(text: str) -> None:
        if text == ANY:
            access.anyone = True
        else:
            access.allow(parse(text))

    def remove(text: str) -> None:
        if text != ANY:
            access.disallow(NodeId.parse(text))
        elif access.anyone:
            access.anyone = False
        else:
            raise ConfigError(f"there is no rule {ANY!r}: only the nodes named are let in")

    def written() -> list[str]:
        return [ANY] * access.anyone + [str(rule) for rule in access]

    return Table(add, remove, written)


def _services(services: Services) -> Table:
    return Table(
        lambda text: services.expose(Service.parse(text)),
        lambda text: services.unexpose(service_port(text)),
        lambda: [str(service) for service in services],
    )


def _peers(statics: Statics) -> Table:
    def remove(text: str) -> None:
        node_id = NodeId.parse(text)
        if node_id in statics and node_id not in statics.to_ping:
            raise ConfigError(f"{node_id} is a seed: those are changed by a new start")
        statics.remove(node_id)

    return Table(
        lambda text: statics.add(StaticPeer.parse(text)),
        remove,
        lambda: [str(peer) for peer in statics if peer.node_id in statics.to_ping],
    )
