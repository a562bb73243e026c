"""How datagrams leave and where they came from: the endpoint's two bounded address caches."""

from __future__ import annotations

import socket
import struct

from keynet.udp import pktinfo
from keynet.udp.options import UDP_SEGMENT
from keynet.udp.path import Path
from keynet.udp.zones import SockAddr, address_of, sockaddr_of

_LIMIT = 4096
"""Entries of each cache. Spoofed sources can fill it; then it starts anew."""


class Route:
    """A path in the form that sendmsg(2) takes."""

    __slots__ = ("_segmented", "_stride", "control", "sockaddr")

    def __init__(self, path: Path, with_local: bool) -> None:
        self.sockaddr = sockaddr_of(path.remote)
        self.control: list[pktinfo.ControlMessage] = []
        if with_local and path.local is not None:
            self.control.append(pktinfo.message_for(path.local))
        self._stride = 0
        self._segmented = self.control

    def segmented(self, stride: int) -> list[pktinfo.ControlMessage]:
        """The control messages for a batch that the kernel cuts into `stride` bytes each."""
        if stride != self._stride:
            segment = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", stride))
            self._segmented = [*self.control, segment]
            self._stride = stride
        return self._segmented


class RouteCache(dict[Path, Route]):
    """Routes by path, for one socket."""

    def __init__(self, with_local: bool) -> None:
        super().__init__()
        self._with_local = with_local

    def __missing__(self, path: Path) -> Route:
        """Raises OSError for a zone that names no interface."""
        if len(self) >= _LIMIT:
            self.clear()
        route = self[path] = Route(path, self._with_local)
        return route


class PathCache(dict[tuple[SockAddr, bytes | None], Path]):
    """Paths by what a receive says: the source, and the raw control message of the local side."""

    def __missing__(self, key: tuple[SockAddr, bytes | None]) -> Path:
        if len(self) >= _LIMIT:
            self.clear()
        source, local = key
        path = Path(address_of(source), pktinfo.local_of(local) if local else None)
        self[key] = path
        return path
