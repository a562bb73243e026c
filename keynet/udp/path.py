"""One way to reach a peer from one socket."""

from __future__ import annotations

from typing import NamedTuple

from keynet.address import SocketAddress


class Path(NamedTuple):
    """A remote socket address and the local address that it is reached from."""

    remote: SocketAddress
    local: str | None = None
    """The local IP, so that a wildcard socket answers from the address that was asked (PKTINFO);
    None lets the kernel choose."""
