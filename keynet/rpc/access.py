"""Who may call which methods: a table that can be changed while the node runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from keynet.address import NodeId
from keynet.config.values import AllowCalls
from keynet.errors import ConfigError

__all__ = ["AllowCalls", "CallAccess"]


class CallAccess:
    """Which peers may call what: nobody anything but public services, until told.

    Any id that the peer has proved counts, the current one or one that it had before.
    """

    def __init__(
        self,
        rules: Iterable[AllowCalls] = (),
        *,
        owner: NodeId | None = None,
        anyone: bool = False,
    ) -> None:
        self._patterns: dict[NodeId, frozenset[str] | None] = {}
        self.owner = owner
        """This node's own id: whoever proves it, over the control socket, may call everything."""
        self.anyone = anyone
        """Every node that proves an id may call everything."""
        for rule in rules:
            self.allow(rule)

    def __iter__(self) -> Iterator[AllowCalls]:
        return (AllowCalls(node_id, patterns) for node_id, patterns in self._patterns.items())

    def allow(self, rule: AllowCalls) -> None:
        """Let that node call those methods, besides what it may call already."""
        before = self._patterns.get(rule.node_id, frozenset())
        both = None
        if before is not None and rule.patterns is not None:
            both = before | {pattern.removesuffix(".*") for pattern in rule.patterns}
        self._patterns[rule.node_id] = both

    def disallow(self, node_id: NodeId) -> None:
        """Take back every rule for that id. Raises ConfigError when there is none."""
        if node_id not in self._patterns:
            raise ConfigError(f"there is no rule that lets {node_id} call anything")
        del self._patterns[node_id]

    def is_owner(self, lineage: Sequence[NodeId]) -> bool:
        """Whether a peer with these ids is this node itself."""
        return self.owner is not None and self.owner in lineage

    def knows(self, lineage: Sequence[NodeId]) -> bool:
        """Whether a peer with these ids may call anything that is not public."""
        return (
            self.anyone
            or self.is_owner(lineage)
            or any(node_id in self._patterns for node_id in lineage)
        )

    def permits(self, lineage: Sequence[NodeId], name: str) -> bool:
        """Whether a rule lets a peer with these ids call the method of that full name."""
        if self.anyone or self.is_owner(lineage):
            return True
        names = (name, name.rpartition(".")[0])
        for node_id in lineage:
            if node_id in self._patterns:
                patterns = self._patterns[node_id]
                if patterns is None or not patterns.isdisjoint(names):
                    return True
        return False
