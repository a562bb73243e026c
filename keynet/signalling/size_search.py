"""Finding the largest datagram that passes over a path: padded pings, don't-fragment set. Sans-IO.

The way of RFC 8899: what is too large is lost and harms nothing, since a ping carries no data.
"""

from __future__ import annotations

from collections.abc import Callable

from keynet.signalling.path_state import PathState
from keynet.signalling.pings import Pings, Probe
from keynet.udp.path import Path

PAUSES = (0.3, 0.3, 0.6)
"""A padded ping is lost as often as others are: three in a row mean that it is too large."""


class SizeSearch:
    """The search on whichever path is in use."""

    def __init__(self, pings: Pings, ceiling: Callable[[Path], int], interval: float) -> None:
        """`ceiling` tells the largest UDP payload of the local interface; `interval` is the
        seconds from the end of a search to the next."""
        self._pings = pings
        self._ceiling = ceiling
        self._interval = interval

    def proceed(self, state: PathState, now: float) -> None:
        """Start the next padded ping when its time has come."""
        if state.size_probe is not None or now < state.search_at:
            return
        if not state.untried:
            state.begin_search(self._ceiling(state.path))
        state.untried = [size for size in state.untried if size > state.mtu]
        if state.untried:
            size = state.untried.pop(0)
            state.size_probe = self._pings.start(state.path, now, pauses=PAUSES, size=size)
        if state.size_probe is None:
            state.search_at = now + self._interval

    def answered(self, state: PathState, probe: Probe, now: float) -> None:
        """A padded ping has come through whole."""
        state.size_probe = None
        state.mtu = max(state.mtu, probe.size)
        state.search_at = now if state.untried else now + self._interval

    def unanswered(self, state: PathState, now: float) -> None:
        """A padded ping was lost each time: no larger one will pass."""
        state.size_probe, state.untried = None, []
        state.search_at = now + self._interval
