"""What a node lets peers reach, and whom: two tables that can be changed while it runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from keynet.address import NodeId
from keynet.config.values import Allow, LocalAddress, Service
from keynet.errors import ConfigError


class Services:
    """The exposed services: local servers by port."""

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self._targets = {service.port: service.target for service in services}

    def __iter__(self) -> Iterator[Service]:
        return (Service(port, target) for port, target in sorted(self._targets.items()))

    def __len__(self) -> int:
        return len(self._targets)

    def expose(self, service: Service) -> None:
        """Let new connections in to `service`, in place of what had that port before."""
        self._targets[service.port] = service.target

    def unexpose(self, port: int) -> None:
        """Let no new connections in to that port. Raises ConfigError when it is not exposed."""
        if self._targets.pop(port, None) is None:
            raise ConfigError(f"port {port} is not exposed")

    @property
    def only(self) -> int | None:
        """The port of the only service, or None when there are none or several."""
        return next(iter(self._targets)) if len(self._targets) == 1 else None

    def find(self, port: int) -> LocalAddress | None:
        """The local server behind `port`, or None."""
        return self._targets.get(port)


class Access:
    """Who may reach which services: nobody, until told."""

    def __init__(self, rules: Iterable[Allow] = (), *, anyone: bool = False) -> None:
        self._ports: dict[NodeId, frozenset[int] | None] = {}
        self.anyone = anyone
        """Every node that proves an id may reach every service."""
        for rule in rules:
            self.allow(rule)

    def __iter__(self) -> Iterator[Allow]:
        return (Allow(node_id, ports) for node_id, ports in self._ports.items())

    def allow(self, rule: Allow) -> None:
        """Let that node in to those services, besides what it may reach already."""
        before = self._ports.get(rule.node_id, frozenset())
        both = None if before is None or rule.ports is None else before | rule.ports
        self._ports[rule.node_id] = both

    def disallow(self, node_id: NodeId) -> None:
        """Take back every rule for that id. Raises ConfigError when there is none."""
        if node_id not in self._ports:
            raise ConfigError(f"there is no rule that allows {node_id}")
        del self._ports[node_id]

    def knows(self, lineage: Sequence[NodeId]) -> bool:
        """Whether a peer with these ids is let in to anything at all."""
        return self.anyone or any(node_id in self._ports for node_id in lineage)

    def match(self, lineage: Sequence[NodeId], port: int) -> NodeId | None:
        """The id, of those that one peer has proved, that is let in to `port`; None for nobody."""
        for node_id in lineage:
            if node_id in self._ports:
                ports = self._ports[node_id]
                if ports is None or port in ports:
                    return node_id
        return lineage[0] if self.anyone else None
