"""Who is registered at a seed: by current id and by every id before it. In memory; pure.

A node's newest chain wins: once a key has been rotated, whoever holds the old one cannot register
in the node's place.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from keynet.address import NodeId
from keynet.errors import BrokenLink, LookupFailed
from keynet.identity import PeerIdentity

MAX_REGISTRATIONS = 100_000
"""About 3 kB each; the one that was renewed longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered node."""

    peer: PeerIdentity
    blob: bytes
    """The registration as the node signed it."""
    expires_at: float
    """Monotonic seconds."""


class Registry(Protocol):
    """Where a seed keeps registrations."""

    def put(self, entry: Entry, now: float) -> None:
        """Keep `entry`, in place of the node's earlier one.

        Raises BrokenLink when the node is known by a newer key, or by another successor.
        """

    def get(self, node_id: NodeId, now: float) -> Entry:
        """The node that has, or had, that id. Raises LookupFailed."""

    def remove(self, peer: PeerIdentity) -> None:
        """Forget a node. Idempotent."""

    def __len__(self) -> int: ...


class MemoryRegistry:
    """Registrations of one process, gone with it: nodes come back by themselves."""

    def __init__(self, most: int = MAX_REGISTRATIONS) -> None:
        self._most = most
        self._entries: OrderedDict[NodeId, Entry] = OrderedDict()
        """By current id, the one renewed longest ago first."""
        self._current: dict[NodeId, NodeId] = {}
        """From every id of a chain to the current one."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry, now: float) -> None:
        self._expire(now)
        for known in self._of_lineage(entry.peer):
            if known.peer.node_id not in entry.peer.lineage:
                raise BrokenLink(
                    f"{entry.peer.node_id.short} is not the newest key of its node: "
                    f"{known.peer.node_id.short} is registered"
                )
        for known in self._of_lineage(entry.peer):
            self.remove(known.peer)
        while len(self._entries) >= self._most:
            self.remove(next(iter(self._entries.values())).peer)
        self._entries[entry.peer.node_id] = entry
        for node_id in entry.peer.lineage:
            self._current[node_id] = entry.peer.node_id

    def get(self, node_id: NodeId, now: float) -> Entry:
        entry = self._entries.get(self._current.get(node_id, node_id))
        if entry is None or entry.expires_at <= now:
            raise LookupFailed(f"{node_id} is not registered here")
        return entry

    def remove(self, peer: PeerIdentity) -> None:
        entry = self._entries.pop(peer.node_id, None)
        if entry is None:
            return
        for node_id in entry.peer.lineage:
            if self._current.get(node_id) == peer.node_id:
                del self._current[node_id]

    def _of_lineage(self, peer: PeerIdentity) -> list[Entry]:
        """What is kept of the same node: usually one entry."""
        current = {self._current[one] for one in peer.lineage if one in self._current}
        return [self._entries[node_id] for node_id in current]

    def _expire(self, now: float) -> None:
        """Nodes renew in order, so that the oldest expire first."""
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.expires_at > now:
                return
            self.remove(oldest.peer)
