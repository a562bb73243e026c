"""Why peers cannot be reached, for those who see no more than that. Pure."""

from __future__ import annotations

from collections import OrderedDict

from keynet.address import NodeId
from keynet.node.events import ConnectionLost, ConnectionOpened, DialFailed, NodeEvent

MAX_REASONS = 256
"""Peers whose latest trouble is remembered."""


class Reasons:
    """The latest dial failure or loss of each peer since it was last connected."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[NodeId, str] = OrderedDict()

    def note(self, event: NodeEvent) -> None:
        """Remember trouble; forget it when the peer is connected again."""
        if isinstance(event, ConnectionOpened):
            self._reasons.pop(event.peer, None)
        elif isinstance(event, DialFailed | ConnectionLost) and event.reason is not None:
            self._reasons[event.peer] = event.reason
            self._reasons.move_to_end(event.peer)
            if len(self._reasons) > MAX_REASONS:
                self._reasons.popitem(last=False)

    def of(self, node_id: NodeId) -> str | None:
        """One line for people; None when nothing is wrong, as far as is known."""
        return self._reasons.get(node_id)
